"""Usage entries that wait to be written: in memory, from the moment of the answer until the database has them.

`Usage.record_soon` puts them here. They are written together every SOON_SECONDS, by as few statements as there can be.
While the database cannot be written (its disk is full, it is away) they stay, and it is tried again with growing waits:
what was drawn is counted, only later. It is then counted on the day on which it could be written.

What a process keeps is bounded by MAX_WAITING entries, some 20 MB: beyond it, and for what cannot be written when the
process stops, an entry is lost: counted in `bowerbird_usage_entries_lost_total` and said in the log with all that
stands in it, so that a bill can be mended by hand. A process that is killed loses what waits, which is a quarter of a
second's while the database is well.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from itertools import islice
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge
from sqlalchemy.ext.asyncio import AsyncConnection
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

from bowerbird.errors import RecordsUnavailable
from bowerbird.gateway.records.writer import Writer

if TYPE_CHECKING:
    from bowerbird.gateway.records.usage import UsageEntry

SOON_SECONDS = 0.25
MAX_TOGETHER = 500
"""Entries that are written in one statement."""
MAX_WAITING = 50_000
"""At a hundred requests a second, eight minutes in which the database cannot be written."""
FIRST_WAIT_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 15.0
STOP_SECONDS = 5.0
"""How long a process that stops goes on trying."""

Insert = Callable[[AsyncConnection, Sequence["UsageEntry"]], Awaitable[Sequence[None]]]

logger = logging.getLogger(__name__)


class UsageBuffer:
    """Has entries written; `insert` writes some within a transaction, those that are there already change nothing."""

    def __init__(self, writer: Writer, insert: Insert, registry: CollectorRegistry) -> None:
        self._writer = writer
        self._insert = insert
        self._waiting: OrderedDict[str, UsageEntry] = OrderedDict()
        self._one_at_a_time = asyncio.Lock()
        self._later: asyncio.Task[None] | None = None
        Gauge(
            "bowerbird_usage_entries_waiting",
            "Usage entries of answered requests that are not in the database yet.",
            registry=registry,
        ).set_function(self._waiting.__len__)
        self._lost = Counter(
            "bowerbird_usage_entries_lost",
            "Usage entries that never came into the database: each stands in the log.",
            registry=registry,
        )

    def add(self, entry: UsageEntry) -> None:
        """Has it written soon; nobody waits for it."""
        self._waiting[entry.work_id] = entry
        if len(self._waiting) > MAX_WAITING:
            self._lose([self._waiting.popitem(last=False)[1]])
        if self._later is None or self._later.done():
            self._later = asyncio.create_task(self._write_later())

    def get(self, work_id: str) -> UsageEntry | None:
        """An entry that is not written yet."""
        return self._waiting.get(work_id)

    async def written(self) -> None:
        """Returns when nothing waits any more; raises RecordsUnavailable, and then all that waits still does."""
        async with self._one_at_a_time:
            while together := list(islice(self._waiting.values(), MAX_TOGETHER)):
                await self._write(together)

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Writes at the end what waits, as far as it can be written in STOP_SECONDS."""
        try:
            yield
        finally:
            if self._later is not None:
                self._later.cancel()  # what it has just submitted may be written twice, and counts once
                await asyncio.gather(self._later, return_exceptions=True)
            try:
                async with asyncio.timeout(STOP_SECONDS):
                    await self._write_at_last()
            except TimeoutError:
                self._lose(self._waiting.values())
                self._waiting.clear()

    async def _write_later(self) -> None:
        while self._waiting:
            await asyncio.sleep(SOON_SECONDS)
            await self._write_at_last()

    async def _write_at_last(self) -> None:
        """Tries until everything is written; random waits, so that the replicas do not come back all at once."""
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type(RecordsUnavailable),
            wait=wait_random_exponential(multiplier=FIRST_WAIT_SECONDS, max=LONGEST_WAIT_SECONDS),
            before_sleep=self._say,
        ):
            with attempt:
                await self.written()

    async def _write(self, together: Sequence[UsageEntry]) -> None:
        """Until the commit they stay where they are: whoever waits here may be cancelled, and the database be away."""
        try:
            await self._writer.submit(self._insert_all, together)
        except RecordsUnavailable:
            raise
        except Exception:
            if len(together) > 1:  # one that the database refuses for ever must not hold the others up
                for each in together:
                    await self._write([each])
                return
            logger.exception("a usage entry was refused")
            self._lose(together)
        for each in together:
            self._waiting.pop(each.work_id, None)

    async def _insert_all(self, connection: AsyncConnection, groups: Sequence[Sequence[UsageEntry]]) -> Sequence[None]:
        for entries in groups:
            await self._insert(connection, entries)
        return [None] * len(groups)

    def _say(self, state: RetryCallState) -> None:
        facts = {"waiting": len(self._waiting), "attempt": state.attempt_number}
        logger.warning("usage cannot be written down now, and is kept", extra=facts)

    def _lose(self, entries: Iterable[UsageEntry]) -> None:
        for each in entries:
            self._lost.inc()
            logger.error("usage was not written down", extra={name: getattr(each, name) for name in each.__slots__})
