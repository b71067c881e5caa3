"""What is remembered of why a chain does not wake: a job says it between two attempts, when nobody looks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from bowerbird.deadline import Deadline
from bowerbird.gateway.admission.admission import Admission
from bowerbird.gateway.call import Call
from bowerbird.gateway.demand.level import Demand
from bowerbird.gateway.demand.phase import Phase, Progress
from bowerbird.gateway.demand.waking import CHAIN, Waking
from bowerbird.gateway.in_flight import InFlight
from bowerbird.gateway.metrics import Metrics
from bowerbird.gateway.stages import Stages
from bowerbird.gateway.upstream import Stage, open_session
from bowerbird.settings import Settings

NO_IMAGE = Progress(Phase.PULL, "ErrImagePull: it is not there")


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bowerbird.gateway.demand.waking.LOOK_SECONDS", 0.01)


class Asleep:
    """A chain without pods, and how far the test says that each stage is."""

    def __init__(self, waking: Waking) -> None:
        self.waking = waking
        self.progress: dict[Stage, Progress] = {}
        waking.progress = lambda stage: self.progress.get(stage, Progress())

    @asynccontextmanager
    async def waited_for(self) -> AsyncIterator[None]:
        """Somebody waits for the first of the chain, as a job does, until the block ends."""
        call = Call(request_id="req", deadline=Deadline.after(60), metrics=Metrics())
        waiting = asyncio.create_task(self.waking.until_awake(CHAIN[:1], call, CHAIN))
        try:
            yield
        finally:
            waiting.cancel()
            with suppress(asyncio.CancelledError):
                await waiting

    async def until(self, fact: Callable[[str | None], bool]) -> None:
        async with asyncio.timeout(5):
            while not fact(self.waking.reason(CHAIN)):  # noqa: ASYNC110 - looked at, as by who asks for a job
                await asyncio.sleep(0.002)


@asynccontextmanager
async def asleep() -> AsyncIterator[Asleep]:
    async with open_session() as session:
        admission = Admission()
        stages = Stages(session, {stage: () for stage in Stage}, 1.0, admission, [stage.value for stage in CHAIN])
        yield Asleep(Waking(stages, Demand({Stage.TEXT_TO_IMAGE: admission}, InFlight()), Settings()))


async def test_what_keeps_the_last_of_a_chain_is_known_to_who_waits_for_the_first() -> None:
    async with asleep() as chain, chain.waited_for():
        await chain.until(lambda reason: reason is None)
        chain.progress = {CHAIN[-1]: NO_IMAGE}
        await chain.until(lambda reason: reason == NO_IMAGE.reason)


async def test_it_is_remembered_until_somebody_waits_again_and_it_is_so_no_more() -> None:
    async with asleep() as chain:
        chain.progress = {CHAIN[1]: NO_IMAGE}
        async with chain.waited_for():
            await chain.until(lambda reason: reason == NO_IMAGE.reason)
        chain.progress = {}
        assert chain.waking.reason(CHAIN) == NO_IMAGE.reason
        async with chain.waited_for():
            await chain.until(lambda reason: reason is None)
