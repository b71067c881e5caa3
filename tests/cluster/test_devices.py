"""Devices that are claimed (dynamic resource allocation), by a class, as the chart's `accelerator.deviceClass` says."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from .node import GPU_DRIVER, GPU_RESOURCE, NODES
from .release import READY_SECONDS, Release, drawn

pytestmark = [pytest.mark.own_cluster, pytest.mark.timeout(900)]

ALL = NODES[1].gpus
TOLERATED = [{"key": GPU_RESOURCE, "operator": "Exists"}]
CLAIMS: tuple[str, ...] = ("--set", f"services.text-to-image.accelerator.deviceClass={GPU_DRIVER}")
CLAIMS += ("--set", f"services.text-to-image.accelerator.count={ALL}")
CLAIMS += ("--set-json", f"services.text-to-image.tolerations={json.dumps(TOLERATED)}")
CLASS = {
    "apiVersion": "resource.k8s.io/v1",
    "kind": "DeviceClass",
    "metadata": {"name": GPU_DRIVER},
    "spec": {"selectors": [{"cel": {"expression": f'device.driver == "{GPU_DRIVER}"'}}]},
}
LOOKS = "import os; print(os.environ.get('NVIDIA_VISIBLE_DEVICES'))"


@pytest.fixture(scope="module")
def release(bowerbird: Release) -> Iterator[Release]:
    """One whose text-to-image claims every device that there is."""
    cluster = bowerbird.cluster
    slices = ("get", "resourceslices", "--output", "jsonpath={.items[*].spec.driver}")
    cluster.until(lambda: GPU_DRIVER in cluster.kubectl(*slices), "devices that are offered")
    cluster.kubectl("apply", "-f", "-", manifest=json.dumps(CLASS))
    bowerbird.upgrade(*CLAIMS)
    yield bowerbird
    bowerbird.upgrade()
    cluster.kubectl("delete", "deviceclass", GPU_DRIVER)


def test_a_pod_gets_the_devices_of_its_claim_on_the_node_that_has_them_and_draws(release: Release) -> None:
    (pod,) = release.pods("text-to-image")
    assert release.nodes("text-to-image") == ["gpu"]
    seen = release.kubectl("exec", pod, "--container", "text-to-image", "--", "python", "-c", LOOKS)
    assert set(seen.strip().split(",")) == {f"gpu-{number}" for number in range(ALL)}
    assert drawn(release)


def test_it_is_replaced_although_it_has_every_device(release: Release) -> None:
    (before,) = release.pods("text-to-image").values()
    release.kubectl("rollout", "restart", "deployment/text-to-image")
    release.kubectl("rollout", "status", "deployment/text-to-image", f"--timeout={READY_SECONDS}s")
    (after,) = release.pods("text-to-image").values()
    assert after != before
    claims = json.loads(release.kubectl("get", "resourceclaims", "--output", "json"))["items"]
    held = [each for each in claims if each["status"].get("reservedFor")]
    assert [len(each["status"]["allocation"]["devices"]["results"]) for each in held] == [ALL]
