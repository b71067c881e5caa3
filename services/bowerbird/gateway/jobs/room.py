"""Everything in this process that jobs need, opened and closed together."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from bowerbird.errors import RecordsUnavailable
from bowerbird.gateway.jobs.backlog import Backlog
from bowerbird.gateway.jobs.carrying import Carrier, Draw
from bowerbird.gateway.jobs.watching import JobWatch
from bowerbird.gateway.records.opening import Records
from bowerbird.settings import Settings

SWEEPER = "sweeper"
SWEEP_SECONDS = 60.0
ORPHAN_SWEEPS = 10
"""Every so many sweeps, all files are looked at: what a crash left behind may lie there for that long."""
SWEEPER_LEASE_SECONDS = 3 * SWEEP_SECONDS

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class JobRoom:
    """The hands, the ears and the bound."""

    records: Records
    carrier: Carrier
    watch: JobWatch
    backlog: Backlog

    @classmethod
    def of(cls, records: Records, settings: Settings, draw: Draw) -> JobRoom:
        """A room that draws with `draw`; nothing happens in it before `running()`."""
        watch = JobWatch(records.events)
        return cls(records, Carrier(records, watch, draw), watch, Backlog(records.jobs, settings.job_backlog))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Carries, watches and sweeps until the context ends."""
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self.watch.running())
            await stack.enter_async_context(self.carrier.running())
            sweeping = asyncio.create_task(self._sweep_again_and_again())
            try:
                yield
            finally:
                sweeping.cancel()
                await asyncio.gather(sweeping, return_exceptions=True)

    async def _sweep_again_and_again(self) -> None:
        """One replica sweeps for all; not for correctness, but because one is enough."""
        for turn in itertools.count():
            try:
                if await self.records.leases.acquire(SWEEPER, self.records.owner, SWEEPER_LEASE_SECONDS):
                    await self.records.retention.sweep()
                    if turn % ORPHAN_SWEEPS == 0:
                        await self.records.retention.remove_orphans()
                        await self.records.pictures.remove_unfinished()
            except RecordsUnavailable:
                logger.warning("nothing is swept while the records cannot be written")
            except Exception:  # a bug: the next sweep is tried all the same
                logger.exception("a sweep failed")
            await asyncio.sleep(SWEEP_SECONDS)
