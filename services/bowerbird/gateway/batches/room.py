"""Everything in this process that batches need, opened and closed together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from bowerbird.errors import RecordsUnavailable
from bowerbird.gateway.batches.batches import Batches
from bowerbird.gateway.batches.carrying import BatchCarrier
from bowerbird.gateway.batches.claims import BatchClaims
from bowerbird.gateway.batches.metrics import BatchMetrics
from bowerbird.gateway.batches.retention import BatchRetention
from bowerbird.gateway.batches.running import Trade
from bowerbird.gateway.files.room import FileRoom
from bowerbird.gateway.records.opening import Records
from bowerbird.settings import Settings

SWEEP_SECONDS = 3600.0

logger = logging.getLogger(__name__)

MakeTrade = Callable[[BatchMetrics], Trade]


@dataclass(frozen=True, slots=True)
class BatchRoom:
    """The rows, the hands and what is removed."""

    batches: Batches
    carrier: BatchCarrier
    retention: BatchRetention

    @classmethod
    def of(
        cls, records: Records, stored: FileRoom, settings: Settings, trade: MakeTrade, registry: CollectorRegistry
    ) -> BatchRoom:
        """A room whose lines are answered by what `trade` makes; nothing happens in it before `running()`."""
        metrics = BatchMetrics(registry)
        files = stored.files
        claims = BatchClaims(records.database, files, records.usage, records.owner)
        carrier = BatchCarrier(claims, files.parts, trade(metrics), metrics)
        batches = Batches(records.database, records.keys, files, settings.tenant_batches)
        return cls(batches, carrier, BatchRetention(records.database))

    async def remove_tenant(self, tenant: str) -> int:
        """Removes every batch of a tenant, whatever it is about; how many. Its files are `FileRoom.remove_tenant`'s."""
        return await self.batches.remove_tenant(tenant)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Runs batches and sweeps until the context ends."""
        sweeping = asyncio.create_task(self._sweep_again_and_again())
        try:
            async with self.carrier.running():
                yield
        finally:
            sweeping.cancel()
            await asyncio.gather(sweeping, return_exceptions=True)

    async def _sweep_again_and_again(self) -> None:
        """Every replica for itself: it is one statement that finds nothing."""
        while True:
            try:
                await self.retention.sweep()
            except RecordsUnavailable:
                logger.warning("no batches are swept while the records cannot be written")
            await asyncio.sleep(SWEEP_SECONDS)
