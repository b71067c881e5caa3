// Dradriver offers devices that do not exist by dynamic resource allocation, as a GPU vendor's driver does: it publishes
// a ResourceSlice of its node, and what a container gets of a claim is NVIDIA_VISIBLE_DEVICES, by CDI, and nothing else.
//
//	dradriver --driver gpu.example.com --node gpu --kubeconfig FILE --count 4
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	resource "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/dynamic-resource-allocation/kubeletplugin"
	"k8s.io/dynamic-resource-allocation/resourceslice"
)

// Where containerd looks for what a CDI device means, besides /etc/cdi.
const cdiFolder = "/var/run/cdi"

type driver struct {
	name, node string
}

func main() {
	name := flag.String("driver", "gpu.example.com", "name of the driver, and vendor of its CDI devices")
	node := flag.String("node", "", "name of the node")
	kubeconfig := flag.String("kubeconfig", "", "who may publish ResourceSlices and read ResourceClaims")
	count := flag.Int("count", 4, "how many devices")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := (&driver{*name, *node}).serve(ctx, *kubeconfig, *count); err != nil {
		log.Fatal(err)
	}
}

// serve registers with the kubelet, publishes the devices and prepares claims until the context ends.
func (d *driver) serve(ctx context.Context, kubeconfig string, count int) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	for _, folder := range []string{
		cdiFolder, kubeletplugin.KubeletRegistryDir, filepath.Join(kubeletplugin.KubeletPluginsDir, d.name),
	} {
		if err := os.MkdirAll(folder, 0o750); err != nil {
			return err
		}
	}
	helper, err := kubeletplugin.Start(ctx, d,
		kubeletplugin.DriverName(d.name), kubeletplugin.NodeName(d.node), kubeletplugin.KubeClient(client))
	if err != nil {
		return err
	}
	defer helper.Stop()
	devices := make([]resource.Device, count)
	for number := range devices {
		devices[number].Name = fmt.Sprintf("gpu-%d", number)
	}
	slices := []resourceslice.Slice{{Devices: devices}}
	pools := map[string]resourceslice.Pool{d.node: {Slices: slices}}
	if err := helper.PublishResources(ctx, resourceslice.DriverResources{Pools: pools}); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// PrepareResourceClaims writes down what each claim's devices mean to a container.
func (d *driver) PrepareResourceClaims(
	_ context.Context, claims []*resource.ResourceClaim,
) (map[types.UID]kubeletplugin.PrepareResult, error) {
	prepared := map[types.UID]kubeletplugin.PrepareResult{}
	for _, claim := range claims {
		devices, err := d.prepare(claim)
		prepared[claim.UID] = kubeletplugin.PrepareResult{Devices: devices, Err: err}
	}
	return prepared, nil
}

func (d *driver) prepare(claim *resource.ResourceClaim) ([]kubeletplugin.Device, error) {
	var devices []kubeletplugin.Device
	var visible []string
	id := d.name + "/claim=" + string(claim.UID)
	for _, result := range claim.Status.Allocation.Devices.Results {
		if result.Driver != d.name {
			continue
		}
		visible = append(visible, result.Device)
		devices = append(devices, kubeletplugin.Device{
			Requests: []string{result.Request}, PoolName: result.Pool, DeviceName: result.Device, CDIDeviceIDs: []string{id},
		})
	}
	edits := map[string]any{"env": []string{"NVIDIA_VISIBLE_DEVICES=" + strings.Join(visible, ",")}}
	meaning, err := json.Marshal(map[string]any{
		"cdiVersion": "0.6.0",
		"kind":       d.name + "/claim",
		"devices":    []map[string]any{{"name": string(claim.UID), "containerEdits": edits}},
	})
	if err != nil {
		return nil, err
	}
	return devices, os.WriteFile(d.meaningOf(claim.UID), meaning, 0o644)
}

// UnprepareResourceClaims forgets what was written down.
func (d *driver) UnprepareResourceClaims(
	_ context.Context, claims []kubeletplugin.NamespacedObject,
) (map[types.UID]error, error) {
	forgotten := map[types.UID]error{}
	for _, claim := range claims {
		err := os.Remove(d.meaningOf(claim.UID))
		if os.IsNotExist(err) {
			err = nil
		}
		forgotten[claim.UID] = err
	}
	return forgotten, nil
}

// HandleError says what went wrong while ResourceSlices were published; it is tried again.
func (d *driver) HandleError(_ context.Context, err error, what string) {
	log.Printf("%s: %v", what, err)
}

func (d *driver) meaningOf(claim types.UID) string {
	return filepath.Join(cdiFolder, fmt.Sprintf("%s-%s.json", d.name, claim))
}
