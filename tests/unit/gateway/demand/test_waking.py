"""How long a chain is waited for, and what is remembered of why it does not wake: a job says it between two attempts,
when nobody looks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from bowerbird.deadline import Deadline
from bowerbird.errors import GatewayStopping, StageUnavailable
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

NO_ROOM = Progress(Phase.NODE, "Unschedulable: 0/2 nodes are available")
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
    async def waited_for(self) -> AsyncIterator[asyncio.Task[None]]:
        """Somebody waits for the first of the chain, as a job does, until the block ends."""
        call = Call(request_id="req", deadline=Deadline.after(60), metrics=Metrics())
        waiting = asyncio.create_task(self.waking.until_awake(CHAIN[:1], call, CHAIN))
        try:
            yield waiting
        finally:
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)

    async def until(self, fact: Callable[[str | None], bool]) -> None:
        async with asyncio.timeout(5):
            while not fact(self.waking.reason(CHAIN)):  # noqa: ASYNC110 - looked at, as by who asks for a job
                await asyncio.sleep(0.002)


@asynccontextmanager
async def asleep(**settings: Any) -> AsyncIterator[Asleep]:
    async with open_session() as session:
        admission = Admission()
        stages = Stages(session, {stage: () for stage in Stage}, 1.0, admission, [stage.value for stage in CHAIN])
        yield Asleep(Waking(stages, Demand({Stage.TEXT_TO_IMAGE: admission}, InFlight()), Settings(**settings)))


async def test_who_waits_in_a_process_that_ends_waits_on_while_there_is_time_to_compute() -> None:
    async with asleep(request_timeout_seconds=1) as chain, chain.waited_for() as waiting:
        began = time.monotonic()
        chain.waking.stop(1.5)
        with pytest.raises(GatewayStopping):
            await waiting
        assert 0.5 <= time.monotonic() - began < 1.5


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


# ----------------------------------------------------------------------------------------------------------- how long


async def test_a_node_that_does_not_come_within_its_own_bound_ends_the_wait() -> None:
    async with asleep(node_seconds=0.1, wake_seconds=60) as chain:
        chain.progress = dict.fromkeys(CHAIN, NO_ROOM)
        async with chain.waited_for() as waiting:
            with pytest.raises(StageUnavailable, match="was not awake in time: Unschedulable") as raised:
                await asyncio.wait_for(waiting, 10)
    assert raised.value.details["phase"] == "node"


async def test_the_time_for_a_node_is_none_of_the_time_to_wake() -> None:
    async with asleep(node_seconds=60, wake_seconds=0.1) as chain:
        chain.progress = dict.fromkeys(CHAIN, NO_ROOM)
        async with chain.waited_for() as waiting:
            await asyncio.sleep(0.4)
            assert not waiting.done(), "a node is waited for beyond the time to wake"
            chain.progress = dict.fromkeys(CHAIN, Progress(Phase.LOAD))
            with pytest.raises(StageUnavailable, match="it is at 'load'"):
                await asyncio.wait_for(waiting, 10)


async def test_where_no_node_is_provisioned_none_is_waited_for() -> None:
    async with asleep(node_seconds=0, wake_seconds=60) as chain:
        chain.progress = dict.fromkeys(CHAIN, NO_ROOM)
        async with chain.waited_for() as waiting:
            with pytest.raises(StageUnavailable, match="Unschedulable"):
                await asyncio.wait_for(waiting, 10)
