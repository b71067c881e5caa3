"""Everything in this process that jobs need, opened and closed together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from bowerbird.errors import RecordsUnavailable
from bowerbird.gateway.jobs.backlog import Backlog
from bowerbird.gateway.jobs.carrying import CanDraw, Carrier, Draw
from bowerbird.gateway.jobs.line import Line
from bowerbird.gateway.jobs.metrics import JobMetrics
from bowerbird.gateway.jobs.watching import JobWatch
from bowerbird.gateway.records.claim_order import ClaimOrder
from bowerbird.gateway.records.job import Job
from bowerbird.gateway.records.jobs import CHANNEL
from bowerbird.gateway.records.listening import Listener
from bowerbird.gateway.records.opening import Records
from bowerbird.settings import Settings

COUNT_SECONDS = 10.0
"""Between two looks at what waits, for the metrics."""
SWEEPER = "sweeper"
SWEEP_SECONDS = 60.0
ORPHAN_SWEEPS = 10
"""Every so many sweeps, all files are looked at: what a crash left behind may lie there for that long."""
SWEEPER_LEASE_SECONDS = 3 * SWEEP_SECONDS

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class JobRoom:
    """The hands, the ears, the bound, the line before the hands, and the figures."""

    records: Records
    carrier: Carrier
    watch: JobWatch
    backlog: Backlog
    line: Line
    metrics: JobMetrics

    @classmethod
    def of(cls, records: Records, settings: Settings, draw: Draw, registry: CollectorRegistry) -> JobRoom:
        """A room that draws with `draw`; nothing happens in it before `running()`."""
        watch, metrics = JobWatch(records.events), JobMetrics(registry)
        carrier = Carrier(records, watch, draw, metrics)
        backlog, line = Backlog(records.jobs, settings.job_backlog), Line(ClaimOrder(records.database))
        return cls(records, carrier, watch, backlog, line, metrics)

    async def cancel(self, tenant: str, job_id: str) -> Job:
        """Ends an unfinished job, and what computes for it after the present step; raises JobUnknown or JobFinished."""
        job = await self.records.jobs.cancel(tenant, job_id)
        self.carrier.stop(job.id)
        self.watch.notify(job.id)
        return job

    @asynccontextmanager
    async def running(self, can_draw: CanDraw) -> AsyncIterator[None]:
        """Carries (what `can_draw` says that can be drawn), watches and sweeps until the context ends."""
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self.watch.running())
            if self.records.database.is_postgresql:
                listener = Listener(self.records.login)
                await stack.enter_async_context(listener.listening(CHANNEL, self.carrier.doubt))
            await stack.enter_async_context(self.carrier.running(can_draw))
            tasks = [asyncio.create_task(work()) for work in (self._sweep_again_and_again, self._count_again_and_again)]
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _count_again_and_again(self) -> None:
        while True:
            with suppress(RecordsUnavailable):  # the last figures stand
                self.metrics.wait(await self.records.jobs.unfinished())
            await asyncio.sleep(COUNT_SECONDS)

    async def _sweep_again_and_again(self) -> None:
        """One replica sweeps for all; not for correctness, but because one is enough.

        Its first sweep looks at all files: it sweeps because it started, or because the one before it died.
        """
        sweeps = 0
        while True:
            try:
                if await self.records.leases.acquire(SWEEPER, self.records.owner, SWEEPER_LEASE_SECONDS):
                    await self.records.retention.sweep()
                    if sweeps % ORPHAN_SWEEPS == 0:
                        await self.records.retention.remove_orphans()
                        await self.records.pictures.remove_unfinished()
                    sweeps += 1
            except RecordsUnavailable:
                logger.warning("nothing is swept while the records cannot be written")
            except Exception:  # a bug: the next sweep is tried all the same
                logger.exception("a sweep failed")
            await asyncio.sleep(SWEEP_SECONDS)
