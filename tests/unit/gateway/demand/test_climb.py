"""Stages on their way up: what held requests are told, what is measured, and the first pod that KEDA did not make."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from bowerbird.gateway.admission.admission import Admission
from bowerbird.gateway.demand.climb import Climbs
from bowerbird.gateway.demand.deletion_cost import BUSY, IDLE_SECONDS, DeletionCosts
from bowerbird.gateway.demand.level import Demand
from bowerbird.gateway.demand.phase import Phase, Progress
from bowerbird.gateway.discovery.api_server import ApiServer, open_api_server
from bowerbird.gateway.discovery.endpoint_slices import Found
from bowerbird.gateway.in_flight import InFlight
from bowerbird.gateway.stages import Stages
from bowerbird.gateway.upstream import Stage, open_session
from bowerbird.settings import Settings

from ..discovery.cluster import Cluster, running_cluster
from ..discovery.conftest import inside

DRAWS = Stage.TEXT_TO_IMAGE
LABELS = {"app.kubernetes.io/name": "bowerbird", "app.kubernetes.io/component": "text-to-image"}


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    folder = tmp_path / "cluster"
    folder.mkdir()
    with running_cluster(folder) as cluster:
        cluster.put("deployments", "text-to-image", spec={"replicas": 0})
        cluster.put("scaledobjects", "text-to-image")
        yield cluster


@asynccontextmanager
async def api_server(cluster: Cluster) -> AsyncIterator[ApiServer]:
    async with open_api_server(Settings(**inside(cluster)), "birds") as server:  # type: ignore[arg-type]
        yield server


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - looked at, as by those who are held
        await asyncio.sleep(0.002)


class Climbing:
    """One stage that sleeps, and somebody who may want it."""

    def __init__(self, server: ApiServer, session: Any) -> None:
        admission = Admission()
        self.demand = Demand({Stage.TEXT_TO_IMAGE: admission}, InFlight())
        self.stages = Stages(session, {stage: () for stage in Stage}, 1.0, admission, ["text-to-image"])
        self.registry = CollectorRegistry()
        self.climbs = Climbs(server, self.stages, self.demand.is_raised, {DRAWS: "text-to-image"}, self.registry)

    async def until(self, phase: Phase) -> None:
        await until(lambda: self.climbs.progress(DRAWS).phase is phase)

    def figure(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, {"service": "text-to-image", **labels}) or 0.0


@asynccontextmanager
async def climbing(cluster: Cluster) -> AsyncIterator[Climbing]:
    async with api_server(cluster) as server, open_session() as session:
        found = Climbing(server, session)
        async with found.climbs.running():
            yield found


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bowerbird.gateway.demand.climb.LOOK_SECONDS", 0.01)


def pod(cluster: Cluster, name: str = "pod", **status: Any) -> None:
    scheduled = {"type": "PodScheduled", "status": "True"}
    cluster.put("pods", name, metadata={"labels": LABELS}, status={"conditions": [scheduled], **status})


async def test_who_waits_is_told_each_phase_and_each_is_measured(cluster: Cluster) -> None:
    async with climbing(cluster) as stage:
        with stage.demand.raised(DRAWS):
            pod(cluster)
            await stage.until(Phase.PULL)
            pod(cluster, containerStatuses=[{"state": {"running": {}}}])
            await stage.until(Phase.LOAD)
            pod(cluster, name="elsewhere")
            cluster.objects["pods"]["elsewhere"]["metadata"]["labels"] = {"app.kubernetes.io/name": "other"}
        await until(lambda: stage.climbs.progress(DRAWS) == Progress())
        assert stage.figure("bowerbird_wake_seconds_count", phase="decide") == 1
        assert stage.figure("bowerbird_wake_seconds_count", phase="pull") == 1
        assert stage.figure("bowerbird_wake_seconds_count", phase="total") == 0, "it was given up"


@pytest.mark.parametrize(("waits", "phase"), [("ContainerCreating", Phase.PULL), ("PodInitializing", Phase.START)])
async def test_a_pod_whose_secret_is_missing_says_so_by_its_events_until_it_is_there(
    cluster: Cluster, waits: str, phase: Phase
) -> None:
    async with climbing(cluster) as stage:
        with stage.demand.raised(DRAWS):
            pod(cluster, containerStatuses=[{"state": {"waiting": {"reason": waits}}}])
            event(cluster, "someone-elses", about="another", type="Warning", reason="FailedMount", message="theirs")
            event(cluster, "scheduled", about="pod", type="Normal", reason="Scheduled", message="to cpu")
            await stage.until(phase)
            assert stage.climbs.progress(DRAWS).reason is None
            missing = 'MountVolume.SetUp failed for volume "bucket" : secret "models" not found'
            event(cluster, "mount", about="pod", type="Warning", reason="FailedMount", message=missing)
            await until(lambda: stage.climbs.progress(DRAWS) == Progress(phase, f"FailedMount: {missing}"))
            event(cluster, "pulling", about="pod", type="Normal", reason="Pulling", message="the image")
            await until(lambda: stage.climbs.progress(DRAWS) == Progress(phase))


def event(cluster: Cluster, name: str, about: str, **facts: str) -> None:
    """What somebody says of a pod, after all that was said before."""
    seen = f"2026-11-23T12:00:{len(cluster.objects['events']):02d}Z"
    involved = {"kind": "Pod", "name": about}
    cluster.put("events", name, involvedObject=involved, lastTimestamp=seen, **facts)


async def test_what_is_said_of_a_pod_that_goes_is_no_reason_of_the_one_that_comes(cluster: Cluster) -> None:
    async with climbing(cluster) as stage:
        with stage.demand.raised(DRAWS):
            pod(cluster, name="before")
            cluster.objects["pods"]["before"]["metadata"]["deletionTimestamp"] = "2026-11-23T12:00:00Z"
            event(cluster, "unhealthy", about="before", type="Warning", reason="Unhealthy", message="not ready")
            pod(cluster, name="next")
            await stage.until(Phase.PULL)
            looks = cluster.lists
            await until(lambda: cluster.lists > looks + 4)
            assert stage.climbs.progress(DRAWS) == Progress(Phase.PULL)


async def test_nothing_is_asked_while_nothing_is_needed(cluster: Cluster) -> None:
    async with climbing(cluster):
        await asyncio.sleep(0.1)
    assert cluster.lists == 0


async def test_a_deployment_that_keda_leaves_at_0_gets_its_first_pod_once(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bowerbird.gateway.demand.climb.FIRST_POD_SECONDS", 0.0)
    version = cluster.objects["deployments"]["text-to-image"]["metadata"]["resourceVersion"]
    async with climbing(cluster) as stage:
        with stage.demand.raised(DRAWS):
            await until(lambda: bool(cluster.patches))
            await asyncio.sleep(0.05)
        assert stage.figure("bowerbird_first_pods_total") == 1
    [(path, patch)] = cluster.patches
    assert path == "deployments/text-to-image/scale"
    assert patch == {"metadata": {"resourceVersion": version}, "spec": {"replicas": 1}}


@pytest.mark.parametrize("case", ["young", "paused", "without a ScaledObject", "already made", "changed meanwhile"])
async def test_no_pod_is_made_that_is_not_the_gateways_to_make(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    monkeypatch.setattr("bowerbird.gateway.demand.climb.FIRST_POD_SECONDS", 60.0 if case == "young" else 0.0)
    if case == "paused":
        annotations = {"autoscaling.keda.sh/paused": "true"}
        cluster.put("scaledobjects", "text-to-image", metadata={"annotations": annotations})
    elif case == "without a ScaledObject":
        cluster.remove("scaledobjects", "text-to-image")
    elif case == "already made":
        cluster.put("deployments", "text-to-image", spec={"replicas": 3})
    cluster.conflicts = case == "changed meanwhile"
    async with climbing(cluster) as stage:
        with stage.demand.raised(DRAWS):
            await until(lambda: cluster.lists >= 5)
            hopeless = stage.climbs.progress(DRAWS).hopeless
        assert stage.figure("bowerbird_first_pods_total") == 0
    assert hopeless == (case == "paused")
    assert bool(cluster.patches) == (case == "changed meanwhile")


# ---------------------------------------------------------------------------------------------- which pods are busy


async def test_whoever_takes_pods_or_nodes_away_leaves_a_busy_pod_alone(cluster: Cluster) -> None:
    for name in ("a", "b"):
        pod(cluster, name)
    found = Found(ready=frozenset({"http://a", "http://b"}), pods={"http://a": "a", "http://b": "b"})
    in_flight: Any = {"http://a": 1}

    def told_of(name: str) -> Any:
        annotations = cluster.objects["pods"][name]["metadata"].get("annotations", {})
        return {key: value for key, value in annotations.items() if value is not None}

    async with api_server(cluster) as server:
        costs = DeletionCosts(server, lambda: found, lambda: in_flight)
        await costs.look(0.0)
        assert (told_of("a"), told_of("b")) == (BUSY, {})
        written = len(cluster.patches)
        in_flight["http://a"] = 0
        await costs.look(IDLE_SECONDS - 1)
        in_flight["http://a"] = 2
        await costs.look(IDLE_SECONDS)
        assert len(cluster.patches) == written, "busy, idle for a moment, busy: nothing has changed"
        in_flight["http://a"] = 0
        await costs.look(2 * IDLE_SECONDS + 1)
        assert (told_of("a"), costs.settled) == ({}, True)

        cluster.away, in_flight["http://b"] = True, 1
        with pytest.raises(ConnectionError):
            await costs.look(20.0)
        assert not costs.settled, "nobody knows that it is busy: no fewer pods may be asked for"
        cluster.away = False
        await costs.look(21.0)
        assert (told_of("b"), costs.settled) == (BUSY, True)

        in_flight = None  # another replica keeps the order now, and tells
        await costs.look(22.0)
        in_flight = {}
        await costs.look(40.0)
        assert told_of("b") == {}, "what another told is made right"


async def test_a_pod_of_which_nobody_knows_what_was_told_is_not_taken_for_known(cluster: Cluster) -> None:
    pod(cluster, "a")
    in_flight = {"http://a": 0}
    found = Found(ready=frozenset(in_flight), pods={"http://a": "a"})
    async with api_server(cluster) as server:
        costs = DeletionCosts(server, lambda: found, lambda: in_flight)
        assert costs.settled
        cluster.away = True
        with pytest.raises(ConnectionError):
            await costs.look(0.0)
        cluster.away, in_flight["http://a"] = False, 1
        assert not costs.settled, "it computes since a moment ago"
        await costs.look(1.0)
        assert costs.settled
    assert cluster.objects["pods"]["a"]["metadata"]["annotations"] == BUSY


async def test_a_pod_with_two_kinds_of_addresses_is_busy_by_either(cluster: Cluster) -> None:
    pod(cluster, "a")
    urls = ("http://10.0.0.1:3000", "http://[fd00::1]:3000")
    found = Found(ready=frozenset(urls), pods=dict.fromkeys(urls, "a"))
    for computes_at in urls:
        in_flight = {**dict.fromkeys(urls, 0), computes_at: 1}
        async with api_server(cluster) as server:
            await DeletionCosts(server, lambda: found, in_flight.copy).look(0.0)
        assert cluster.objects["pods"]["a"]["metadata"].pop("annotations") == BUSY
