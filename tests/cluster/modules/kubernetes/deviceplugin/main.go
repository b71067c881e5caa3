// Deviceplugin offers devices that do not exist: `nvidia.com/gpu` as NVIDIA's plugin offers it, over the kubelet's own
// gRPC API, on a node without a GPU. What a container gets of it is NVIDIA_VISIBLE_DEVICES and nothing else.
//
//	deviceplugin --resource nvidia.com/gpu --count 4
//
// It registers again whenever the kubelet has been restarted: the kubelet removes every socket when it starts.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	api "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
)

const lookEvery = 500 * time.Millisecond

type plugin struct {
	api.UnimplementedDevicePluginServer
	resource string
	devices  []*api.Device
}

func main() {
	resource := flag.String("resource", "nvidia.com/gpu", "name of the extended resource")
	count := flag.Int("count", 4, "how many devices")
	flag.Parse()
	offered := &plugin{resource: *resource}
	for number := range *count {
		offered.devices = append(offered.devices, &api.Device{ID: fmt.Sprintf("GPU-%d", number), Health: api.Healthy})
	}
	for {
		if err := offered.serveUntilSocketIsGone(); err != nil {
			log.Printf("not registered: %v", err)
		}
		time.Sleep(lookEvery)
	}
}

// serveUntilSocketIsGone registers with the kubelet and serves; it returns when the kubelet has removed the socket.
func (p *plugin) serveUntilSocketIsGone() error {
	name := strings.NewReplacer("/", "-", ".", "-").Replace(p.resource) + ".sock"
	socket := filepath.Join(api.DevicePluginPath, name)
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	server := grpc.NewServer()
	api.RegisterDevicePluginServer(server, p)
	go func() { _ = server.Serve(listener) }()
	defer server.Stop()
	if err := p.register(name); err != nil {
		return err
	}
	log.Printf("registered %d x %s", len(p.devices), p.resource)
	for {
		time.Sleep(lookEvery)
		if _, err := os.Lstat(socket); err != nil {
			return nil
		}
	}
}

func (p *plugin) register(endpoint string) error {
	connection, err := grpc.NewClient("unix://"+api.KubeletSocket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer connection.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_, err = api.NewRegistrationClient(connection).Register(ctx, &api.RegisterRequest{
		Version: api.Version, Endpoint: endpoint, ResourceName: p.resource,
	})
	return err
}

// ListAndWatch tells the devices once; they neither fail nor go away.
func (p *plugin) ListAndWatch(_ *api.Empty, stream grpc.ServerStreamingServer[api.ListAndWatchResponse]) error {
	if err := stream.Send(&api.ListAndWatchResponse{Devices: p.devices}); err != nil {
		return err
	}
	<-stream.Context().Done()
	return nil
}

// Allocate says what a container sees of its devices.
func (p *plugin) Allocate(_ context.Context, asked *api.AllocateRequest) (*api.AllocateResponse, error) {
	answer := &api.AllocateResponse{}
	for _, container := range asked.ContainerRequests {
		visible := map[string]string{"NVIDIA_VISIBLE_DEVICES": strings.Join(container.DevicesIds, ",")}
		answer.ContainerResponses = append(answer.ContainerResponses, &api.ContainerAllocateResponse{Envs: visible})
	}
	return answer, nil
}

// GetDevicePluginOptions asks for neither of the optional calls.
func (p *plugin) GetDevicePluginOptions(context.Context, *api.Empty) (*api.DevicePluginOptions, error) {
	return &api.DevicePluginOptions{}, nil
}
