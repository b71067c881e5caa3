"""Stages on their way up, looked at once a second while they are needed: how far, why not, and since when.

Needed is what somebody here waits for, and what is to have pods whatever the work (a floor, a schedule, pre-warm).
Three questions to the API server for each such stage (its Deployment, its pods, its ScaledObject), a fourth about a pod
whose containers are not made yet and whose status does not say why, and none for the others.
From the answers follow the `Progress` that held requests are told (`waking`), the seconds of each phase, and one deed:
KEDA can miss what it was told (its stream's `true` is dropped while it discovers metrics or believes in pods that are
gone, and its retries are up to a minute apart), so a Deployment that is still at 0 after FIRST_POD_SECONDS gets its
first pod from here. Only one of this release, never one whose ScaledObject is paused or absent, and only if nobody
changed the count meanwhile: the patch names the version that was read.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry, Counter, Histogram

from bowerbird.gateway.background import in_background
from bowerbird.gateway.demand.phase import Phase, Progress, is_paused, last_warning, progress_of
from bowerbird.gateway.discovery.api_server import ApiServer, ApiServerAway, ApiServerRefused, Json
from bowerbird.gateway.stages import Stages, StageState
from bowerbird.gateway.upstream import Stage
from bowerbird.telemetry import SECONDS_BUCKETS

LOOK_SECONDS = 1.0
FIRST_POD_SECONDS = 3.0
NOT_FOUND = 404

DEPLOYMENT = "/apis/apps/v1/namespaces/{namespace}/deployments/"
PODS = "/api/v1/namespaces/{namespace}/pods"
EVENTS = "/api/v1/namespaces/{namespace}/events"
SCALED_OBJECT = "/apis/keda.sh/v1alpha1/namespaces/{namespace}/scaledobjects/"
COMPONENT = "app.kubernetes.io/component"

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Climb:
    began: float = field(default_factory=time.monotonic)
    since: float = field(default_factory=time.monotonic)
    progress: Progress = field(default_factory=Progress)
    helped: bool = False


class Climbs:
    """Every stage that wakes; `variants` names the Deployment of each, `is_needed` says whether it is to wake."""

    def __init__(
        self,
        server: ApiServer,
        stages: Stages,
        is_needed: Callable[[Stage], bool],
        variants: Mapping[Stage, str],
        registry: CollectorRegistry,
    ) -> None:
        self._server = server
        self._stages = stages
        self._is_needed = is_needed
        self._variants = variants
        self._climbs: dict[Stage, _Climb] = {}
        self._stepped: dict[Stage, datetime] = {}
        """Since when each was ready whose first step was seen."""
        self._phase_seconds = Histogram(
            "bowerbird_wake_seconds",
            "How long a service was in each phase while it woke; total: from the first demand until it was ready.",
            ["service", "phase"],
            buckets=SECONDS_BUCKETS,
            registry=registry,
        )
        self._first_pods = Counter(
            "bowerbird_first_pods",
            "Deployments that were scaled from 0 to 1 by the gateway, since KEDA had not.",
            ["service"],
            registry=registry,
        )

    def progress(self, stage: Stage) -> Progress:
        """How far a stage is, as it was last seen."""
        climb = self._climbs.get(stage)
        return Progress() if climb is None else climb.progress

    def first_step(self, stage: Stage, ready_since: datetime) -> None:
        """Somebody who waited for a stage has had a step of it; the first of them counts."""
        if stage in self._variants and self._stepped.get(stage) != ready_since:
            self._stepped[stage] = ready_since
            took = (datetime.now(UTC) - ready_since).total_seconds()
            self._phase_seconds.labels(self._variants[stage], Phase.FIRST_STEP).observe(took)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Looks until the context ends."""
        async with in_background(self._look_again_and_again()):
            yield

    async def _look_again_and_again(self) -> None:
        while True:
            for stage, variant in self._variants.items():
                if not self._stages.sleeps(stage):
                    continue
                try:
                    await self._look(stage, variant)
                except (ApiServerAway, ApiServerRefused) as error:
                    logger.warning("what keeps a stage is not known", extra={"stage": stage, "reason": str(error)})
                except Exception:  # a bug, or an object of another shape: the other stages are looked at all the same
                    logger.exception("what keeps a stage was not understood", extra={"stage": stage})
            await asyncio.sleep(LOOK_SECONDS)

    async def _look(self, stage: Stage, variant: str) -> None:
        ready = self._stages.statuses[stage].state is StageState.READY
        climb = self._climbs.get(stage)
        if ready or not self._is_needed(stage):
            if climb is not None:
                self._end(stage, variant, climb, ready)
            return
        if climb is None:
            climb = self._climbs[stage] = _Climb()
        deployment = await self._server.get(DEPLOYMENT + variant)
        selector = f"app.kubernetes.io/name=bowerbird,{COMPONENT}={variant}"
        pods = (await self._server.get(PODS, labelSelector=selector)).get("items") or []
        scaled_object = await self._scaled_object(variant)
        progress = progress_of(deployment, pods, scaled_object)
        if progress.phase in (Phase.PULL, Phase.START) and progress.reason is None:
            progress = replace(progress, reason=await self._warning(pods))
        self._note(variant, climb, progress)
        if deployment["spec"].get("replicas") == 0 and scaled_object is not None and not is_paused(scaled_object):
            await self._make_first_pod(variant, climb)

    async def _scaled_object(self, variant: str) -> Json | None:
        try:
            return await self._server.get(SCALED_OBJECT + variant)
        except ApiServerRefused as error:
            if error.status != NOT_FOUND:
                raise
            return None

    async def _warning(self, pods: Sequence[Json]) -> str | None:
        """What Kubernetes complains of last about one of these pods."""
        for pod in pods:
            if pod["metadata"].get("deletionTimestamp"):
                continue
            about = f"involvedObject.kind=Pod,involvedObject.name={pod['metadata']['name']}"
            events = (await self._server.get(EVENTS, fieldSelector=about)).get("items") or []
            if warning := last_warning(events):
                return warning
        return None

    async def _make_first_pod(self, variant: str, climb: _Climb) -> None:
        if climb.helped or time.monotonic() - climb.began < FIRST_POD_SECONDS:
            return
        path = f"{DEPLOYMENT}{variant}/scale"
        scale = await self._server.get(path)
        if scale["spec"].get("replicas"):
            return
        version = {"resourceVersion": scale["metadata"]["resourceVersion"]}
        await self._server.patch(path, {"metadata": version, "spec": {"replicas": 1}})
        climb.helped = True
        self._first_pods.labels(variant).inc()
        logger.warning("KEDA had not woken a service that is needed: the gateway did", extra={"service": variant})

    def _note(self, variant: str, climb: _Climb, progress: Progress) -> None:
        if progress.phase is not climb.progress.phase:
            self._leave_phase(variant, climb)
        if progress.reason != climb.progress.reason and progress.reason is not None:
            logger.warning("a service cannot wake", extra={"service": variant, "reason": progress.reason})
        climb.progress = progress

    def _leave_phase(self, variant: str, climb: _Climb) -> None:
        now = time.monotonic()
        self._phase_seconds.labels(variant, climb.progress.phase).observe(now - climb.since)
        climb.since = now

    def _end(self, stage: Stage, variant: str, climb: _Climb, ready: bool) -> None:
        del self._climbs[stage]
        if ready:
            self._leave_phase(variant, climb)
            self._phase_seconds.labels(variant, "total").observe(time.monotonic() - climb.began)
