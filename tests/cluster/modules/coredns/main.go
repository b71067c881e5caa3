// Coredns is CoreDNS with the plugins that ../../coredns.yaml names, put together as CoreDNS says that one is
// (https://coredns.io/2017/07/25/compile-time-enabling-or-disabling-plugins/). All of its plugins are clients of three
// clouds too, which take four times as long to compile as what a cluster's names need.
package main

import (
	"github.com/coredns/coredns/coremain"
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/ready"
	_ "github.com/coredns/coredns/plugin/reload"
)

func main() {
	coremain.Run()
}
