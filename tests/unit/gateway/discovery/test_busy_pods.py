"""Pods that compute are marked as busy, and their work is counted, whatever they compute and whoever scales them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import grpc
import httpx2
import pytest

from bowerbird.gateway.demand import external_scaler_pb2 as wire
from bowerbird.gateway.demand.deletion_cost import BUSY
from bowerbird.gateway.demand.scaler import SERVICE as SCALER

from ..conftest import closed_url
from ..identity.gateways import ADMIN, bearer
from ..stand_ins import MODEL
from .pods import SERVICES, Pods, becomes, until

READY = dict.fromkeys(SERVICES, "ready")
CLIP = {"prompt": "a robin", "seconds": 2, "fps": 8, "format": "webp"}
DRAWS = {"text-to-image": "/v1/images/generations", "animation": "/v1/videos"}
"""The stages that compute long, and where to ask for it."""


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bowerbird.gateway.demand.deletion_cost.LOOK_SECONDS", 0.01)
    monkeypatch.setattr("bowerbird.gateway.demand.deletion_cost.IDLE_SECONDS", 0.2)
    monkeypatch.setattr("bowerbird.gateway.demand.sharing.SHARE_SECONDS", 0.02)


class Computing:
    """One pod of each service, and something that one of them computes until it is let go."""

    def __init__(self, pods: Pods) -> None:
        self._pods = {service: pods.start(service) for service in SERVICES}
        self.let_go = threading.Event()

    def begin(self, gateway: httpx2.Client, service: str) -> str:
        """A job's id: it needs nobody who waits."""
        self._pods[service].behaviour.until_frames = self.let_go
        body = CLIP if service == "animation" else {"prompt": "a robin", "cache": "fresh"}
        answer = gateway.post(DRAWS[service], json=body, headers={"Prefer": "respond-async"})
        assert answer.status_code in (200, 202), answer.text
        return str(answer.json()["id"])


@pytest.fixture
def computing(pods: Pods) -> Iterator[Computing]:
    found = Computing(pods)
    yield found
    found.let_go.set()


@pytest.fixture
def counting(start: Callable[..., httpx2.Client], computing: Computing) -> httpx2.Client:
    """A gateway that tells KEDA what is wanted, and whoever administers it."""
    gateway = start(scaler_port=0, admin_keys=frozenset({ADMIN}))
    gateway.headers.update(bearer(ADMIN))
    until(gateway, READY)
    return gateway


def level(gateway: httpx2.Client, service: str) -> Mapping[str, Any]:
    """What is wanted of a service: queued, running, draining."""
    found = gateway.get("/v1/admin/demand").json()["data"]
    wanted: Mapping[str, Any] = next((each for each in found if each["service"] == service), {})
    return {name: count for name, count in wanted.items() if name in ("queued", "running", "draining") and count}


@pytest.mark.parametrize("service", DRAWS)
def test_a_pod_that_computes_is_marked_where_nothing_sleeps_and_keda_is_told_nothing(
    pods: Pods, start: Callable[..., httpx2.Client], computing: Computing, service: str
) -> None:
    gateway = start()
    until(gateway, READY)
    computing.begin(gateway, service)
    becomes(lambda: pods.annotations(f"{service}-0") == BUSY)
    assert [name for name in SERVICES if pods.annotations(f"{name}-0")] == [service], "and no other"
    computing.let_go.set()
    becomes(lambda: pods.annotations(f"{service}-0") == {})


@pytest.mark.parametrize("service", DRAWS)
def test_work_on_a_pod_that_ends_keeps_its_service_active_and_is_no_reason_for_another(
    pods: Pods, counting: httpx2.Client, computing: Computing, service: str
) -> None:
    computing.begin(counting, service)
    becomes(lambda: level(counting, service) == {"running": 1})
    pods.drain(f"{service}-0")
    becomes(lambda: level(counting, service) == {"draining": 1})
    computing.let_go.set()
    becomes(lambda: level(counting, service) == {})


@pytest.mark.parametrize("service", DRAWS)
def test_less_is_wanted_only_when_kubernetes_knows_which_pods_are_busy(
    pods: Pods, counting: httpx2.Client, computing: Computing, service: str
) -> None:
    pods.cluster.away = True
    jobs = [computing.begin(counting, service) for _ in range(2)]
    becomes(lambda: level(counting, service) == {"running": 2})
    counting.delete(f"/v1/jobs/{jobs[0]}").raise_for_status()
    time.sleep(0.2)
    assert level(counting, service) == {"running": 2}, "its pod would be as good as any to delete"
    pods.cluster.away = False
    becomes(lambda: level(counting, service) == {"running": 1})
    assert pods.annotations(f"{service}-0") == BUSY


@pytest.mark.parametrize("service", DRAWS)
def test_who_waits_for_a_slot_is_counted_once(counting: httpx2.Client, computing: Computing, service: str) -> None:
    for _ in range(MODEL.slots + 1):
        computing.begin(counting, service)
    becomes(lambda: level(counting, service) == {"queued": 1, "running": MODEL.slots})


@pytest.mark.parametrize("service", DRAWS)
def test_another_pod_is_wanted_when_the_slots_of_one_are_taken(
    start: Callable[..., httpx2.Client], computing: Computing, service: str
) -> None:
    address = closed_url().removeprefix("http://")
    gateway = start(scaler_port=int(address.rpartition(":")[2]))
    until(gateway, READY)
    with grpc.insecure_channel(address) as channel:
        for _ in range(MODEL.slots):
            computing.begin(gateway, service)
        becomes(lambda: pods_wanted(channel, service) == 1)
        computing.begin(gateway, service)
        becomes(lambda: pods_wanted(channel, service) == 2)


def pods_wanted(channel: grpc.Channel, service: str) -> float:
    """What KEDA is answered."""
    serialize, parse = wire.GetMetricsRequest.SerializeToString, wire.GetMetricsResponse.FromString
    asked = wire.GetMetricsRequest(scaledObjectRef=wire.ScaledObjectRef(name=service), metricName="wanted-pods")
    [value] = channel.unary_unary(SCALER + "GetMetrics", serialize, parse)(asked, timeout=10).metricValues
    return float(value.metricValueFloat)
