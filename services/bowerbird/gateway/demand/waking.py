"""Waiting for stages that sleep: demand is raised for all of them at once, and whoever waits is told how far they are.

    await waking.until_awake([Stage.SAFETY], call, chain=CHAIN)

returns at once where these are ready, which is nearly always. Else the request raises the demand of the whole chain and
waits for the named ones, so that a cold start takes as long as its slowest stage. How long it may take has bounds of
its own (`wake_seconds`, and beside it `node_seconds` while a node is provisioned): the time to compute begins after.

What does not pass by waiting (`phase.Progress.hopeless`) ends the wait with its reason, as do the bound and the end of
this process, as soon as too little of it is left to compute anything: a pod's grace need not cover a cold start, since
nothing has begun of what is sent elsewhere.

A cold start is over when something is computed: each stage that a request was held for, or that woke meanwhile, is
listened to until that request's first step there (`phase.Phase.FIRST_STEP`).
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial

from opentelemetry import context
from opentelemetry.context import Context

from bowerbird.contracts import ModelDescription
from bowerbird.errors import StageUnavailable
from bowerbird.gateway.admission.admission import stopping
from bowerbird.gateway.call import Call, tracer
from bowerbird.gateway.demand.level import Demand
from bowerbird.gateway.demand.phase import Phase, Progress
from bowerbird.gateway.stages import Stages, StageState
from bowerbird.gateway.upstream import RETRY_AFTER_SECONDS, Stage
from bowerbird.settings import Settings
from bowerbird.telemetry import Step

CHAIN = (Stage.SAFETY, Stage.TEXT_TO_IMAGE, Stage.CURATION)
"""What a picture needs."""
LOOK_SECONDS = 0.5
"""Between two looks at how far a stage is; that it is ready is heard at once."""

ProgressOf = Callable[[Stage], Progress]


class Waking:
    """Holds requests until stages are awake; `progress` says how far one is."""

    def __init__(self, stages: Stages, demand: Demand, settings: Settings) -> None:
        self.progress: ProgressOf = lambda _: Progress()
        self.on_first_step: Callable[[Stage, datetime], None] = lambda *_: None
        """Is told of the first step of each request that waited for a stage, and since when that is ready."""
        self._stages = stages
        self._demand = demand
        self._wake_seconds = settings.wake_seconds
        self._node_seconds = settings.node_seconds
        self._computing_seconds = settings.request_timeout_seconds
        self._ends_at = math.inf
        self._reasons: Mapping[Stage, str] = {}

    def stop(self, seconds: float) -> None:
        """This process ends in so many seconds: who waits, or comes, is told so when there is no time to compute."""
        self._ends_at = time.monotonic() + seconds - self._computing_seconds

    async def until_awake(self, needed: Sequence[Stage], call: Call, chain: Sequence[Stage] = ()) -> None:
        """Returns when each of these stages is ready, or is none that sleeps; raises StageUnavailable with the reason,
        GatewayStopping, or DeadlineExceeded when the caller waits no longer.

        `chain` is what the request will need besides, which is woken as well and not waited for.
        """
        if not self.asleep(needed):
            return
        above = context.get_current()
        for stage in self.asleep((*needed, *chain)):
            call.first_steps[stage] = partial(self._first_step, stage, above)
        with self._demand.raised(*dict.fromkeys((*needed, *chain))), call.stage("wake"):
            async with call.within_patience():
                await self._wait(needed, chain, call)

    async def until_one_is_awake(self, stage: Stage, call: Call) -> None:
        """For what asks one stage only."""
        await self.until_awake([stage], call)

    async def model(self, call: Call) -> ModelDescription:
        """What text-to-image draws with; of one that nobody has seen yet, when it is awake."""
        if not self._stages.knows_model:
            await self.until_awake([Stage.TEXT_TO_IMAGE], call, CHAIN)
            await self._stages.until_seen(Stage.TEXT_TO_IMAGE)
        return self._stages.model()

    def asleep(self, needed: Sequence[Stage]) -> list[Stage]:
        """Those that demand has to wake first."""
        return [
            stage
            for stage in needed
            if self._stages.statuses[stage].state is not StageState.READY and self._stages.sleeps(stage)
        ]

    def reason(self, needed: Sequence[Stage]) -> str | None:
        """What keeps the first of these that sleeps, as it was last heard here: who waits as a job asks between two
        attempts, when nobody looks."""
        asleep = self.asleep(needed) if self._reasons else ()
        return next((self._reasons[stage] for stage in asleep if stage in self._reasons), None)

    def _first_step(self, stage: Stage, above: Context) -> None:
        """A request that waited for this stage has done its first step there; `above` is what its span is below."""
        status = self._stages.statuses[stage]
        if status.state is not StageState.READY:  # it went again meanwhile, and finishes what it has
            return
        span = tracer.start_span(f"wake {Phase.FIRST_STEP}", above, start_time=round(status.since.timestamp() * 1e9))
        span.set_attribute("bowerbird.stage", stage)
        span.end()
        self.on_first_step(stage, status.since)

    def _remember(self, stages: Sequence[Stage]) -> None:
        """Of each what is known now: whoever waits for the first of a chain hears what keeps the last, and
        nobody of what kept it when somebody else waited."""
        found = {stage: self.progress(stage).reason for stage in stages}
        self._reasons = {stage: reason for stage, reason in {**self._reasons, **found}.items() if reason is not None}

    async def _wait(self, needed: Sequence[Stage], chain: Sequence[Stage], call: Call) -> None:
        left = {True: self._node_seconds, False: self._wake_seconds}
        while asleep := self.asleep(needed):
            if time.monotonic() >= self._ends_at:
                raise stopping()
            stage, progress = self._slowest(asleep)
            self._remember((*needed, *chain))
            if progress.hopeless:
                raise _unavailable(stage, "cannot be woken", progress)
            for_node = progress.phase is Phase.NODE
            if left[for_node] <= 0:
                raise _unavailable(stage, "was not awake in time", progress)
            call.on_wake(progress)
            with Step(f"wake {progress.phase}"):
                while self.asleep(needed) == asleep and self._slowest(asleep) == (stage, progress):
                    began = time.monotonic()
                    with suppress(TimeoutError):
                        async with asyncio.timeout(min(LOOK_SECONDS, left[for_node])):
                            await self._stages.change()
                    self._remember((*needed, *chain))
                    left[for_node] -= time.monotonic() - began
                    if time.monotonic() >= self._ends_at or left[for_node] <= 0:
                        break

    def _slowest(self, asleep: Sequence[Stage]) -> tuple[Stage, Progress]:
        """The one that has the longest way to go, what is hopeless before all; of equals the first of the chain."""
        order = list(Phase)
        found = [(stage, self.progress(stage)) for stage in asleep]
        return min(found, key=lambda it: (not it[1].hopeless, order.index(it[1].phase)))


def _unavailable(stage: Stage, fact: str, progress: Progress) -> StageUnavailable:
    why = f": {progress.reason}" if progress.reason else f": it is at {progress.phase.value!r}"
    return StageUnavailable(
        f"The stage {stage} {fact}{why}",
        retry_after_seconds=RETRY_AFTER_SECONDS,
        details={"stage": stage, "phase": progress.phase, "reason": progress.reason},
    )
