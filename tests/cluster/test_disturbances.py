"""What happens to a cluster anyway: a node is drained, the API server is away; what was accepted is answered."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import httpx2
import pytest
from openai import DEFAULT_MAX_RETRIES

from .cluster import Cluster
from .machine import command_line
from .node import GPU_RESOURCE
from .release import PICTURE, READY_SECONDS, Release, drawing, drawn, installed, paint

pytestmark = [pytest.mark.own_cluster, pytest.mark.alone, pytest.mark.timeout(900)]

CORDONED_SECONDS = 20.0
AWAY_SECONDS = 30.0
HUNG_SECONDS = 10.0
"""The issue's."""
NEW = {**PICTURE, "cache": "fresh"}
LONG = {**NEW, "n": 3, "steps": 50}


@pytest.fixture(scope="module")
def release(cluster: Cluster) -> Iterator[Release]:
    """One whose text-to-image has a GPU, and whose gateway a client reaches without the API server."""
    values = {"services.text-to-image.accelerator.resource": GPU_RESOURCE, "services.gateway.serviceType": "NodePort"}
    options = [option for name, value in values.items() for option in ("--set", f"{name}={value}")]
    with installed(cluster, "disturbed", *options) as made:
        yield made


def test_a_node_that_is_drained_takes_no_work_with_it(release: Release) -> None:
    assert set(release.nodes("text-to-image")) == {"gpu"}
    with release.reached_by_node() as client, ThreadPoolExecutor(2) as thread:
        assert paint(client), "a chain that is reached"
        begun = thread.submit(client.post, "/v1/images/generations", json=LONG)
        release.cluster.until(lambda: slots_held(client) > 0, "a picture that is drawn")
        release.cluster.kubectl("drain", "gpu", "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=200s")
        try:
            held = thread.submit(client.post, "/v1/images/generations", json=NEW)
            assert begun.result().status_code == httpx2.codes.OK, begun.result().text
            time.sleep(CORDONED_SECONDS)
        finally:
            release.cluster.kubectl("uncordon", "gpu")
        assert held.result().status_code == httpx2.codes.OK, held.result().text
    release.kubectl("rollout", "status", "deployment/text-to-image", f"--timeout={READY_SECONDS}s")


def test_serving_goes_on_while_the_api_server_is_away(release: Release) -> None:
    control = release.cluster.machines["control"]
    with release.reached_by_node() as client, drawing(client) as told:
        control.signal("kube-apiserver", signal.SIGSTOP)
        try:
            time.sleep(AWAY_SECONDS)
            drawn_meanwhile = told.pictures
        finally:
            control.signal("kube-apiserver", signal.SIGCONT)
    assert drawn_meanwhile > 0
    assert told.errors == []
    known_again(release, datetime.now(UTC))


def test_a_killed_api_server_is_back_and_pods_are_found_again(release: Release) -> None:
    with release.reached_by_node() as client, drawing(client) as told:
        release.cluster.machines["control"].signal("kube-apiserver", signal.SIGKILL)
        release.cluster.until(lambda: bool(release.pods("curation")), "an API server that answers")
        release.kubectl("rollout", "restart", "deployment/curation")
        release.kubectl("rollout", "status", "deployment/curation", f"--timeout={READY_SECONDS}s")
    assert told.pictures
    assert told.errors == []


def test_who_asks_a_gateway_that_is_killed_is_answered_by_the_next(release: Release) -> None:
    (gateway,) = release.pods("gateway")
    with release.reached_by_node() as client, drawing(client, retries=DEFAULT_MAX_RETRIES) as told:
        release.cluster.until(lambda: told.pictures > 0, "a picture")
        os.kill(serving(release, gateway), signal.SIGKILL)
        so_far = told.pictures
        release.cluster.until(lambda: told.pictures > so_far + 2, "more pictures")
    assert told.errors == []


def test_a_gateway_that_hangs_is_killed_within_ten_seconds_and_another_answers(release: Release) -> None:
    (gateway,) = release.pods("gateway")
    process = serving(release, gateway)
    os.kill(process, signal.SIGSTOP)
    began = time.monotonic()
    release.cluster.until(lambda: not Path(f"/proc/{process}").exists(), "the end of what hangs")
    assert time.monotonic() - began <= HUNG_SECONDS
    assert drawn(release)
    assert set(release.pods("gateway")) == {gateway}


def test_a_kubelet_that_is_killed_is_started_again_and_the_node_stays_ready(cluster: Cluster) -> None:
    machine = cluster.machines["gpu"]
    killed = machine.pid_of("kubelet")
    machine.signal("kubelet", signal.SIGKILL)

    def restarted() -> bool:
        try:
            return machine.pid_of("kubelet") != killed
        except LookupError:
            return False

    cluster.until(restarted, "another kubelet", seconds=10)
    time.sleep(2)
    path = '{.status.conditions[?(@.type=="Ready")].status}'
    assert cluster.kubectl("get", "node", "gpu", "--output", f"jsonpath={path}") == "True"


def known_again(release: Release, since: datetime) -> None:
    """Returns when the nodes have been heard of since then: whose lease ran out meanwhile has pods that nobody is sent
    to, for some seconds more."""
    cluster = release.cluster

    def leases() -> bool:
        listed = cluster.read("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases")["items"]
        return all(datetime.fromisoformat(each["spec"]["renewTime"]) > since for each in listed)

    cluster.until(leases, "nodes that are heard of")
    cluster.kubectl("wait", "--for=condition=Ready", "nodes", "--all", f"--timeout={READY_SECONDS}s")
    release.kubectl("wait", "--for=condition=Ready", "pods", "--all", f"--timeout={READY_SECONDS}s")


def serving(release: Release, pod: str) -> int:
    """The process of a pod that serves the gateway, as this machine counts."""
    path = "jsonpath={.status.containerStatuses[0].containerID}"
    container = release.kubectl("get", "pod", pod, "--output", path).removeprefix("containerd://")
    (found,) = [
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit()
        and "bowerbird.gateway.main" in command_line(int(entry.name))
        and container in (entry / "cgroup").read_text()
    ]
    return found


def slots_held(client: httpx2.Client) -> float:
    """How many slots of text-to-image requests of this gateway hold."""
    lines = client.get("/metrics").text.splitlines()
    return sum(float(line.split()[1]) for line in lines if line.startswith("bowerbird_slots_held "))
