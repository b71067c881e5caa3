"""A machine that runs pods: containerd with runc, the kubelet, kube-proxy and, on a GPU node, who offers its devices.

Nothing has to be configured outside of the machine's folder: its /var and /run are its own (`machine_init`), so the
paths that are compiled into kubelet and containerd hold for each node.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from .access import write_kubeconfig
from .binaries import program, search_path
from .certificates import Authority
from .machine import Service, make_cgroups
from .network import DNS_ADDRESS, PODS, node_address, pod_subnet

CONTAINERD_SOCKET = "/run/containerd/containerd.sock"
PAUSE_IMAGE = "localhost/pause:1"
GPU_RESOURCE = "nvidia.com/gpu"
GPU_DRIVER = "gpu.example.com"
"""Who offers the same number of devices by dynamic resource allocation."""


@dataclass(frozen=True, slots=True)
class Node:
    """A node before it is started; `gpus` > 0 taints it."""

    number: int
    name: str
    gpus: int = 0


NODES = (Node(1, "cpu"), Node(2, "gpu", gpus=4))


def services(node: Node, folder: Path, authority: Authority, kubelet_more: Mapping[str, Any]) -> list[Service]:
    """What the machine runs; configuration, the kubelet's with `kubelet_more`, and certificates are written into
    `folder`."""
    environment = {"PATH": search_path()}
    kubelet = write_kubeconfig(folder / "kubelet.kubeconfig", authority, f"system:node:{node.name}", "system:nodes")
    proxy = write_kubeconfig(folder / "proxy.kubeconfig", authority, "system:kube-proxy")
    configured = yaml.safe_dump({**kubelet_config(node, folder, authority), **kubelet_more})
    commands = {
        "containerd": [
            program("containerd"),
            "--config",
            _write(folder / "containerd.toml", containerd_config(folder)),
        ],
        "kubelet": [
            program("kubelet"),
            f"--config={_write(folder / 'kubelet.yaml', configured)}",
            f"--kubeconfig={kubelet}",
            f"--hostname-override={node.name}",
            f"--node-ip={node_address(node.number)}",
            f"--node-labels=bowerbird.dev/machine={node.name}" + (",nvidia.com/gpu.present=true" if node.gpus else ""),
        ],
        "kube-proxy": [
            program("kube-proxy"),
            f"--config={_write(folder / 'proxy.yaml', yaml.safe_dump(proxy_config(node, proxy)))}",
        ],
    }
    if node.gpus:
        driver = write_kubeconfig(folder / "driver.kubeconfig", authority, "driver", "system:masters")
        commands["deviceplugin"] = [program("deviceplugin"), f"--resource={GPU_RESOURCE}", f"--count={node.gpus}"]
        commands["dradriver"] = [
            program("dradriver"),
            f"--driver={GPU_DRIVER}",
            f"--node={node.name}",
            f"--kubeconfig={driver}",
            f"--count={node.gpus}",
        ]
    _write(folder / "cni" / "10-pods.conflist", json.dumps(pod_network(node)))
    return [Service(name, [str(each) for each in command], environment) for name, command in commands.items()]


def containerd_config(folder: Path) -> str:
    """TOML. Without CAP_SYS_RESOURCE, as in most sandboxes, `oom_score_adj` cannot be lowered: a sandbox would die."""
    return f"""
version = 3
[grpc]
  address = "{CONTAINERD_SOCKET}"
[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "{PAUSE_IMAGE}"
[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = ["/usr/lib/cni"]
    conf_dir = "{folder}/cni"
"""


def pod_network(node: Node) -> dict[str, Any]:
    """CNI: a cable from each pod to its node and routes, no bridge: what a Service rewrites comes back by the node."""
    ranges = [[{"subnet": pod_subnet(node.number)}]]
    addresses = {"type": "host-local", "ranges": ranges, "routes": [{"dst": "0.0.0.0/0"}]}
    return {
        "cniVersion": "1.0.0",
        "name": "pods",
        "plugins": [
            {"type": "ptp", "ipMasq": False, "ipam": addresses},
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }


def kubelet_config(node: Node, folder: Path, authority: Authority) -> dict[str, Any]:
    """KubeletConfiguration."""
    certificate, key = authority.issue(
        folder / "kubelet-server", node.name, hosts=[node_address(node.number), node.name]
    )
    taints = [{"key": GPU_RESOURCE, "value": "present", "effect": "NoSchedule"}] if node.gpus else []
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": make_cgroups(node.name),
        "failCgroupV1": False,
        "failSwapOn": False,
        "enforceNodeAllocatable": [],
        "tlsCertFile": str(certificate),
        "tlsPrivateKeyFile": str(key),
        "authentication": {"anonymous": {"enabled": False}, "x509": {"clientCAFile": str(authority.certificate_file)}},
        "authorization": {"mode": "Webhook"},
        "registerWithTaints": taints,
        "clusterDNS": [DNS_ADDRESS],
        "clusterDomain": "cluster.local",
        "resolvConf": str(_write(folder / "resolv.conf", "")),
        "serializeImagePulls": False,
        "syncFrequency": "10s",  # in a minute, which is usual, a Secret that changes comes to pods too late for a test
        # The disk belongs to somebody who works on it: how full it is says nothing about this node.
        "evictionHard": {"imagefs.available": "1%", "nodefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
    }


def proxy_config(node: Node, kubeconfig: Path) -> dict[str, Any]:
    """KubeProxyConfiguration."""
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": str(kubeconfig)},
        "hostnameOverride": node.name,
        "mode": "iptables",
        "clusterCIDR": PODS,
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    }


def _write(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file
