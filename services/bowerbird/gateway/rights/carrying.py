"""Who carries an erasure, and what every replica does while one is not finished.

Each replica looks for erasures that nobody carries, and carries some at a time, which mostly wait: each is durable by
its row, so that a replica may die with it. While any is unfinished, each replica empties its memory of results at every
look: what was erased from the store is not given from there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from prometheus_client import CollectorRegistry, Gauge

from bowerbird.errors import RecordsUnavailable
from bowerbird.gateway.rights.erasing import Erasing
from bowerbird.gateway.rights.erasures import Claim, TakenOver
from bowerbird.gateway.rights.exports import Exports

HANDS = 16
"""Erasures that a replica carries at a time: a thousand that are asked for together are done within the hour."""
LOOK_SECONDS = 2.0
LEASE_SECONDS = 30.0
RENEW_SECONDS = 8.0
LOOKS_PER_SWEEP = 300
"""Every ten minutes, exports whose time is over and erasures of long ago are removed."""

logger = logging.getLogger(__name__)


class ErasureCarrier:
    """One replica's hands; `forget` empties what it remembers of results."""

    def __init__(
        self, erasing: Erasing, exports: Exports, forget: Callable[[], None], registry: CollectorRegistry
    ) -> None:
        self._erasing = erasing
        self._exports = exports
        self._forget = forget
        self._wake = asyncio.Event()
        self._hands: set[asyncio.Task[None]] = set()
        self._oldest = Gauge(
            "bowerbird_oldest_erasure_seconds",
            "Since the oldest erasure was asked for that is not finished, of all replicas; 0 when all are.",
            registry=registry,
        )

    def wake(self) -> None:
        """An erasure was asked for here."""
        self._wake.set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Looks and carries until the context ends; what is not finished then, another replica or life takes over."""
        looking = asyncio.create_task(self._look_again_and_again())
        try:
            yield
        finally:
            tasks = [looking, *self._hands]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _look_again_and_again(self) -> None:
        looks = 0
        while True:
            try:
                await self._look()
                if looks % LOOKS_PER_SWEEP == 0:
                    await self._exports.sweep()
                    await self._erasing.erasures.sweep()
                looks += 1
            except RecordsUnavailable:
                logger.warning("erasures are not looked for while the records cannot be read")
            except Exception:  # a bug: the next look is tried all the same
                logger.exception("erasures were not looked for")
            await self._rest()

    async def _rest(self) -> None:
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                await self._wake.wait()
        except TimeoutError:
            return
        self._wake.clear()

    async def _look(self) -> None:
        erasures = self._erasing.erasures
        seconds = await erasures.unfinished_seconds()
        self._oldest.set(seconds or 0.0)
        if seconds is None:
            return
        self._forget()
        while len(self._hands) < HANDS:
            claim = await erasures.claim(self._erasing.records.owner, LEASE_SECONDS)
            if claim is None:
                return
            hand = asyncio.create_task(self._carry(claim))
            self._hands.add(hand)
            hand.add_done_callback(self._hands.discard)

    async def _carry(self, claim: Claim) -> None:
        """Until it is finished or somebody else's; what fails is claimed again when its lease has run out."""
        renewing = asyncio.create_task(self._renew_again_and_again(claim, asyncio.current_task()))
        facts = {"erasure": claim.id}
        try:
            await self._erasing.carry(claim)
            logger.info("an erasure is finished", extra=facts)
        except TakenOver:
            logger.warning("an erasure was taken over", extra=facts)
        except RecordsUnavailable:
            logger.warning("an erasure stands still while the records cannot be written", extra=facts)
        except Exception:  # a bug: it is tried again
            logger.exception("an erasure was let go of", extra=facts)
        finally:
            renewing.cancel()
            self._wake.set()

    async def _renew_again_and_again(self, claim: Claim, carrying: asyncio.Task[None] | None) -> None:
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            try:
                await self._erasing.erasures.renew(claim, LEASE_SECONDS)
            except RecordsUnavailable:
                continue
            except TakenOver:
                if carrying is not None:
                    carrying.cancel()
                return
