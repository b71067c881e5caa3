"""A real Kubernetes on this machine, and the tests that need one.

    python -m tests.cluster up      builds what is missing, starts it, prints `export KUBECONFIG=…`
    python -m tests.cluster down    takes all of it away, also what a crashed run left

Three machines, each a set of namespaces (PIDs, mounts, network, host name) with an init of its own, on one bridge:

    control   10.88.0.1    etcd, kube-apiserver, kube-scheduler, kube-controller-manager
    cpu       10.88.0.11   containerd, kubelet, kube-proxy
    gpu       10.88.0.12   the same, a device plugin that offers four `nvidia.com/gpu`, and the taint of a GPU node

When the init of a machine is killed, the kernel ends every process of the machine, and its mounts, interfaces and
packet filter rules go with the namespaces: nothing of a cluster survives `down` but files below its folder.
"""
