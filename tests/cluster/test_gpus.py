"""A model that sleeps has no GPU: the first request takes one, more work another, and nobody keeps one."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest

from .cluster import Cluster
from .node import GPU_RESOURCE
from .release import PICTURE, READY_SECONDS, Release, installed

pytestmark = [pytest.mark.own_cluster, pytest.mark.timeout(900)]

MOST = 2
COOLDOWN_SECONDS = 2
LONG = {**PICTURE, "cache": "fresh", "steps": 50, "n": 2}
REQUESTS, REQUESTS_PER_POD = 8, 4
KEDA = {
    "defaults.scaling.kind": "keda",
    "defaults.scaling.cooldownSeconds": COOLDOWN_SECONDS,
    "services.gateway.scaling.kind": "fixed",
    "services.gateway.serviceType": "NodePort",
    "services.text-to-image.scaling.maxReplicas": MOST,
    "services.text-to-image.scaling.requestsPerPod": REQUESTS_PER_POD,
    "services.text-to-image.accelerator.resource": GPU_RESOURCE,
}


@pytest.fixture(scope="module")
def release(cluster: Cluster) -> Iterator[Release]:
    """One whose models sleep, and whose text-to-image has a GPU when it does not."""
    options = [option for name, value in KEDA.items() for option in ("--set", f"{name}={value}")]
    with installed(cluster, "dozing", *options) as made:
        yield made


def test_models_that_sleep_have_no_gpu(release: Release) -> None:
    assert release.wanted()["text-to-image"] == 0
    assert gpus_taken(release) == 0


def test_the_first_request_takes_one_and_more_than_a_pod_can_do_takes_another(release: Release) -> None:
    with release.reached_by_node() as client, ThreadPoolExecutor(REQUESTS) as threads:
        asked = {**PICTURE, "cache": "fresh"}
        first = threads.submit(client.post, "/v1/images/generations", json=asked, timeout=READY_SECONDS)
        release.cluster.until(lambda: release.nodes("text-to-image") == ["gpu"], "a pod on the node with GPUs")
        assert gpus_taken(release) == 1
        assert first.result().status_code == httpx2.codes.OK, first.result().text
        several = [threads.submit(client.post, "/v1/images/generations", json=LONG) for _ in range(REQUESTS)]
        release.cluster.until(lambda: gpus_taken(release) == MOST, "a second pod with a GPU of its own")
        assert {each.result().status_code for each in several} == {httpx2.codes.OK}


def test_nobody_keeps_one(release: Release) -> None:
    release.cluster.until(lambda: gpus_taken(release) == 0, "no GPU that is taken", seconds=READY_SECONDS)
    assert release.wanted()["text-to-image"] == 0


def gpus_taken(release: Release) -> int:
    """How many GPUs pods of this release have been given and not given back."""
    selector = f"app.kubernetes.io/instance={release.namespace}"
    pods = release.cluster.read(f"/api/v1/namespaces/{release.namespace}/pods", labelSelector=selector)["items"]
    containers = [each for pod in pods if "nodeName" in pod["spec"] for each in pod["spec"]["containers"]]
    return sum(int(each["resources"].get("limits", {}).get(GPU_RESOURCE, 0)) for each in containers)
