"""The cluster itself: what the other tests stand on is what it claims to be."""

from __future__ import annotations

import json

import pytest

from .binaries import KUBERNETES_VERSION
from .cluster import Cluster
from .node import GPU_RESOURCE
from .release import READY_SECONDS, Release

pytestmark = [pytest.mark.own_cluster, pytest.mark.timeout(900)]

LOOKS_AT_ITS_GPUS = "import os; print(os.environ.get('NVIDIA_VISIBLE_DEVICES'))"


def test_two_nodes_run_the_kubernetes_that_go_mod_names(cluster: Cluster) -> None:
    nodes = json.loads(cluster.kubectl("get", "nodes", "--output", "json"))["items"]
    assert {node["metadata"]["name"]: node["status"]["nodeInfo"]["kubeletVersion"] for node in nodes} == {
        "cpu": KUBERNETES_VERSION,
        "gpu": KUBERNETES_VERSION,
    }


def test_the_device_plugin_makes_gpus_allocatable_on_the_tainted_node_only(cluster: Cluster) -> None:
    def allocatable(name: str) -> str | None:
        node = json.loads(cluster.kubectl("get", "node", name, "--output", "json"))
        found: str | None = node["status"]["allocatable"].get(GPU_RESOURCE)
        return found

    cluster.until(lambda: allocatable("gpu") == "4", "four GPUs on the node `gpu`")
    assert allocatable("cpu") is None
    taints = json.loads(cluster.kubectl("get", "node", "gpu", "--output", "json"))["spec"]["taints"]
    assert {"key": GPU_RESOURCE, "value": "present", "effect": "NoSchedule"} in taints


def test_a_pod_that_asks_for_two_gpus_gets_two_on_the_gpu_node(bowerbird: Release) -> None:
    bowerbird.cluster.kubectl("apply", "-f", "-", manifest=json.dumps(gpu_pod(bowerbird.namespace)))

    def phase() -> str:
        return bowerbird.kubectl("get", "pod", "looks", "--output", "jsonpath={.status.phase}")

    bowerbird.cluster.until(lambda: phase() == "Succeeded", "a pod that looked at its GPUs")
    assert bowerbird.kubectl("get", "pod", "looks", "--output", "jsonpath={.spec.nodeName}") == "gpu"
    seen = bowerbird.kubectl("logs", "looks").strip().split(",")
    assert len(seen) == 2
    assert set(seen) < {"GPU-0", "GPU-1", "GPU-2", "GPU-3"}


def test_a_service_with_every_gpu_of_the_cluster_is_replaced_all_the_same(bowerbird: Release) -> None:
    all_of_them = "services.text-to-image.accelerator.count=4"
    bowerbird.upgrade("--set", f"services.text-to-image.accelerator.resource={GPU_RESOURCE}", "--set", all_of_them)
    try:
        (before,) = bowerbird.pods("text-to-image").values()
        bowerbird.kubectl("rollout", "restart", "deployment/text-to-image")
        bowerbird.kubectl("rollout", "status", "deployment/text-to-image", f"--timeout={READY_SECONDS}s")
        (node,) = set(bowerbird.nodes("text-to-image"))
        assert node == "gpu"
        assert before not in bowerbird.pods("text-to-image").values()
    finally:
        bowerbird.upgrade()


def gpu_pod(namespace: str) -> dict[str, object]:
    """A pod that prints which GPUs it was given; in a namespace that enforces `restricted`."""
    restricted = {
        "runAsNonRoot": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    container = {
        "name": "looks",
        "image": "localhost/bowerbird-gateway:test",
        "imagePullPolicy": "Never",
        "command": ["python", "-c", LOOKS_AT_ITS_GPUS],
        "resources": {"limits": {GPU_RESOURCE: 2}},
        "securityContext": restricted,
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "looks", "namespace": namespace},
        "spec": {
            "restartPolicy": "Never",
            "tolerations": [{"key": GPU_RESOURCE, "operator": "Exists"}],
            "containers": [container],
        },
    }
