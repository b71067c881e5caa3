"""This replica's hands: claims batches, has them run, keeps their leases, hears of cancels.

A claim that turns out void (the batch was taken over because this process was paused, or removed) is let go of with
whatever was under way. A process that stops records what is finished and gives its batches back; one that dies leaves
them to whoever claims them when the lease has run out.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from bowerbird.errors import RecordsUnavailable
from bowerbird.gateway.background import to_its_end
from bowerbird.gateway.batches.batch import BatchClaim, BatchState
from bowerbird.gateway.batches.claims import BatchClaims, ClaimVoid
from bowerbird.gateway.batches.metrics import BatchMetrics
from bowerbird.gateway.batches.running import BytesInHand, RunningBatch, Trade
from bowerbird.gateway.files.parts import FileParts

BATCHES_IN_HAND = 32
LEASE_SECONDS = 30.0
"""Longer than a job's: who loses a batch for being slow for a moment has hundreds of lines run again."""
RENEW_SECONDS = 3.0
"""A cancel in another replica is noticed after this long."""
LOOK_SECONDS = 1.0
AGAIN_SECONDS = 2.0
STOP_SECONDS = 3.0
"""How long a gateway that stops records what is finished."""

logger = logging.getLogger(__name__)


@dataclass(eq=False, slots=True)
class _InHand:
    running: RunningBatch
    task: asyncio.Task[None]


class BatchCarrier:
    """Runs batches while `running()` is open."""

    def __init__(self, claims: BatchClaims, parts: FileParts, trade: Trade, metrics: BatchMetrics) -> None:
        self._claims = claims
        self._parts = parts
        self._trade = trade
        self._metrics = metrics
        self._in_hand = BytesInHand()
        self._hands: dict[str, _InHand] = {}
        self._wake = asyncio.Event()
        self._claiming = True

    def wake(self) -> None:
        """A batch was created here."""
        self._wake.set()

    def cancel(self, batch_id: str) -> None:
        """It was cancelled here: no further line is run."""
        if hand := self._hands.get(batch_id):
            hand.running.stop(cancelled=True)
        self._wake.set()

    def stop_claiming(self) -> None:
        """Gives back those that it has, and takes no more: this process is about to end, and others are there, or will
        be."""
        self._claiming = False
        for hand in self._hands.values():
            hand.running.stop(cancelled=False)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Runs batches until the context ends, then gives back what is not finished."""
        loops = [asyncio.create_task(_for_ever(work)) for work in (self._claim, self._renew)]
        try:
            yield
        finally:
            for task in loops:
                task.cancel()
            await asyncio.gather(*loops, return_exceptions=True)
            await self._put_everything_back()

    async def _claim(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK_SECONDS):
                await self._wake.wait()
        self._wake.clear()
        free = BATCHES_IN_HAND - len(self._hands)
        if self._claiming and free > 0:
            await to_its_end(self._claim_up_to(free))

    async def _claim_up_to(self, free: int) -> None:
        for claim in await self._claims.claim(free, LEASE_SECONDS, list(self._hands)):
            self._take(claim)

    async def _renew(self) -> None:
        await asyncio.sleep(RENEW_SECONDS)
        hands = list(self._hands.values())
        if not hands:
            return
        states = await self._claims.renew([hand.running.claim for hand in hands], LEASE_SECONDS)
        for hand in hands:
            state = states.get(hand.running.claim.batch_id)
            if state is None:
                hand.task.cancel()
            elif state is BatchState.CANCELLING:
                hand.running.stop(cancelled=True)

    def _take(self, claim: BatchClaim) -> None:
        running = RunningBatch(claim, self._claims, self._parts, self._trade, self._in_hand)
        task = asyncio.create_task(self._carry(running))
        self._hands[claim.batch_id] = _InHand(running, task)

    async def _carry(self, running: RunningBatch) -> None:
        claim = running.claim
        try:
            await self._run(running)
        finally:
            del self._hands[claim.batch_id]
            self._wake.set()

    async def _run(self, running: RunningBatch) -> None:
        facts = {"batch": running.claim.batch_id}
        rest = None
        try:
            if state := await running.run():
                self._metrics.ended(state)
                logger.info("a batch has ended", extra=facts | {"state": state.value})
        except* ClaimVoid:
            logger.warning("a batch is run by another, or gone", extra=facts)
        except* RecordsUnavailable:
            rest = AGAIN_SECONDS
        except* Exception:  # a bug: the batch is claimed again, and nothing of it is lost
            logger.exception("a batch was let go of", extra=facts)
            rest = LEASE_SECONDS
        if rest is not None:
            with suppress(RecordsUnavailable):  # the lease runs out
                await self._claims.release(running.claim, rest)

    async def _put_everything_back(self) -> None:
        hands = list(self._hands.values())
        for hand in hands:
            hand.running.stop(cancelled=False)
        tasks = [hand.task for hand in hands]
        if tasks:
            await asyncio.wait(tasks, timeout=STOP_SECONDS)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _for_ever(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    while True:
        try:
            await work()
        except RecordsUnavailable:
            logger.warning("batches are not run while the records cannot be written")
            await asyncio.sleep(AGAIN_SECONDS)
        except Exception:  # a bug: batches must not stand still for it
            logger.exception("batches were not looked after")
            await asyncio.sleep(AGAIN_SECONDS)
