"""This replica's hands: takes deliveries that are due, sends each, writes down how it went.

Every replica with the database looks for itself, once a second and whenever a hand is free again after it found
something. What waits is in the database, never here.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter as CountOf
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from prometheus_client import CollectorRegistry, Counter

from bowerbird.errors import RecordsUnavailable
from bowerbird.gateway.background import to_its_end
from bowerbird.gateway.records.leases import Leases
from bowerbird.gateway.webhooks.deliveries import Deliveries, InHand
from bowerbird.gateway.webhooks.sealing import SealBroken, Sealer
from bowerbird.gateway.webhooks.sending import Attempt, Outcome, Sender

HANDS = 32
LOOK_SECONDS = 1.0
AGAIN_SECONDS = 1.0
SWEEP_SECONDS = 60.0
SWEEPER = "webhook_sweeper"
STOP_SECONDS = 3.0
"""How long attempts may go on when the gateway stops; one that is cut short is made again."""

logger = logging.getLogger(__name__)


class WebhookCarrier:
    """Sends while `running()` is open."""

    def __init__(self, deliveries: Deliveries, sender: Sender, sealer: Sealer, registry: CollectorRegistry) -> None:
        self._deliveries = deliveries
        self._sender = sender
        self._sealer = sealer
        self._hands: dict[asyncio.Task[None], InHand] = {}
        self._wake = asyncio.Event()
        self._attempts = Counter(
            "bowerbird_webhook_attempts",
            "Attempts to deliver a webhook, by how they ended.",
            ["outcome"],
            registry=registry,
        )
        self._disabled = Counter(
            "bowerbird_webhook_endpoints_disabled",
            "Endpoints that took nothing for a day, or are gone.",
            registry=registry,
        )

    @asynccontextmanager
    async def running(self, leases: Leases, owner: str) -> AsyncIterator[None]:
        """Looks, sends and sweeps until the context ends."""
        loops = [asyncio.create_task(self._look_again_and_again()), asyncio.create_task(self._sweep(leases, owner))]
        try:
            yield
        finally:
            for task in loops:
                task.cancel()
            await asyncio.gather(*loops, return_exceptions=True)
            if hands := list(self._hands):
                await asyncio.wait(hands, timeout=STOP_SECONDS)
                for hand in hands:
                    hand.cancel()
                await asyncio.gather(*hands, return_exceptions=True)

    async def look(self) -> int:
        """Takes what is due, as far as hands are free; how many."""
        free = HANDS - len(self._hands)
        if free <= 0:
            return 0
        busy = CountOf(hand.receiver.endpoint_id for hand in self._hands.values())
        taken = await self._deliveries.take(free, busy)
        for each in taken:
            task = asyncio.create_task(self._carry(each))
            self._hands[task] = each
            task.add_done_callback(self._freed)
        return len(taken)

    def _freed(self, task: asyncio.Task[None]) -> None:
        del self._hands[task]
        self._wake.set()

    async def _carry(self, taken: InHand) -> None:
        try:
            attempt = await self._attempt(taken)
            self._attempts.labels(attempt.outcome.value).inc()
            await self._write_down(taken, attempt)
        except Exception:  # a bug: it is taken in hand again when its time is over
            logger.exception("a webhook was let go of", extra={"event": taken.event.id})

    async def _attempt(self, taken: InHand) -> Attempt:
        receiver = taken.receiver
        try:
            secrets = [self._sealer.open(each, receiver.endpoint_id) for each in receiver.sealed]
        except SealBroken:
            logger.error("a webhook's secret is sealed with another key", extra={"endpoint": receiver.endpoint_id})
            return Attempt(Outcome.SECRET_UNREADABLE, None, 0)
        return await self._sender.send(receiver.url, taken.event, secrets)

    async def _write_down(self, taken: InHand, attempt: Attempt) -> None:
        while True:
            try:
                ended = await self._deliveries.finish(taken, attempt)
                break
            except RecordsUnavailable:  # it would be sent once more
                await asyncio.sleep(AGAIN_SECONDS)
        if ended is not None and ended.disabled:
            self._disabled.inc()
            logger.warning("a webhook endpoint was disabled", extra={"endpoint": taken.receiver.endpoint_id})

    async def _look_again_and_again(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._wake.wait()
            self._wake.clear()
            try:
                await to_its_end(self.look())
            except RecordsUnavailable:
                await asyncio.sleep(AGAIN_SECONDS)
            except Exception:  # a bug: webhooks must not stand still for it
                logger.exception("webhooks were not looked for")
                await asyncio.sleep(AGAIN_SECONDS)

    async def _sweep(self, leases: Leases, owner: str) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            try:
                if await leases.acquire(SWEEPER, owner, 3 * SWEEP_SECONDS):
                    await self._deliveries.sweep()
            except RecordsUnavailable:
                continue  # the next sweep does it
            except Exception:  # a bug: the next sweep is tried all the same
                logger.exception("webhooks were not swept")
