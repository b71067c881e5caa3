"""What was drawn for whom: one entry for each piece of work, summed by day, model and variant.

An entry's key is the id of the job or request, so that counting twice is impossible rather than unlikely: a job's entry
is written in the transaction that ends it. The sweeper folds entries of past days into `usage_days`; `read` sums both
in one statement, which sees a fold wholly or not at all.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import delete, func, literal, select, union_all
from sqlalchemy.ext.asyncio import AsyncConnection

from bowerbird.gateway.records.database import Database, upsert
from bowerbird.gateway.records.tables import usage_days, usage_entries
from bowerbird.gateway.records.writer import Writer

logger = logging.getLogger(__name__)

DAY_MS = 86_400_000
FOLD_ROWS = 5_000
"""Entries folded in one transaction: some 50 ms, after which others may write again."""


@dataclass(frozen=True, slots=True)
class UsageEntry:
    """What one job or request cost and brought."""

    work_id: str
    tenant: str
    model_digest: str
    variant: str
    compute_units: float
    pixels: int
    """Of every frame that was drawn, candidates included."""
    pictures: int
    """That were delivered."""


@dataclass(frozen=True, slots=True)
class UsageDay:
    """The sum of one tenant's entries of one day, model and variant; `day` counts from 1970-01-01, UTC."""

    day: int
    model_digest: str
    variant: str
    requests: int
    compute_units: float
    pixels: int
    pictures: int


_AMOUNTS = ("compute_units", "pixels", "pictures")
_GROUP = ("tenant", "day", "model_digest", "variant")


class Usage:
    """The account book."""

    def __init__(self, database: Database, writer: Writer) -> None:
        self._database = database
        self._writer = writer
        self._recording: set[asyncio.Task[None]] = set()

    async def record(self, entry: UsageEntry) -> None:
        """Writes down one request that is no job; a second time changes nothing."""
        await self._writer.submit(self.insert, entry)

    def record_soon(self, entry: UsageEntry) -> None:
        """Has an entry written down with the next group while nobody waits for it: one that costs nothing."""
        recording = asyncio.create_task(self.record(entry))
        self._recording.add(recording)
        recording.add_done_callback(self._recorded)

    async def insert(self, connection: AsyncConnection, entries: Sequence[UsageEntry]) -> Sequence[None]:
        """The entries, within the caller's transaction; the day is the database's."""
        statement = upsert(connection, usage_entries).values(day=self._database.now() // literal(DAY_MS))
        await connection.execute(statement.on_conflict_do_nothing(), [asdict(entry) for entry in entries])
        return [None] * len(entries)

    def _recorded(self, recording: asyncio.Task[None]) -> None:
        self._recording.discard(recording)
        if not recording.cancelled() and (error := recording.exception()):
            logger.warning("usage was not written down", extra={"reason": str(error)})

    async def read(self, tenant: str, first_day: int, last_day: int) -> list[UsageDay]:
        """A tenant's days, both ends included, oldest first."""
        entries = select(*(usage_entries.c[name] for name in (*_GROUP, *_AMOUNTS)), literal(1).label("requests"))
        days = select(*(usage_days.c[name] for name in (*_GROUP, *_AMOUNTS, "requests")))
        both = union_all(
            *(
                each.where(table.c.tenant == tenant, table.c.day.between(first_day, last_day))
                for each, table in ((entries, usage_entries), (days, usage_days))
            )
        ).subquery()
        group = [both.c[name] for name in _GROUP[1:]]
        sums = [func.sum(both.c[name]).label(name) for name in ("requests", *_AMOUNTS)]
        async with self._database.reading() as connection:
            rows = (await connection.execute(select(*group, *sums).group_by(*group).order_by(*group))).all()
        return [UsageDay(row[0], row[1], row[2], int(row[3]), float(row[4]), int(row[5]), int(row[6])) for row in rows]

    async def fold(self) -> int:
        """Moves entries from before yesterday into their day's sum; the number of entries moved, 0 when all are."""
        today = self._database.now() // literal(DAY_MS)
        old = select(usage_entries.c.work_id).where(usage_entries.c.day < today - 1).limit(FOLD_ROWS)
        async with self._database.writing() as connection:
            taking = delete(usage_entries).where(usage_entries.c.work_id.in_(old)).returning(usage_entries)
            moved = (await connection.execute(taking)).mappings().all()
            sums: dict[tuple[object, ...], dict[str, float]] = {}
            for entry in moved:
                of_day = sums.setdefault(
                    tuple(entry[name] for name in _GROUP), dict.fromkeys(("requests", *_AMOUNTS), 0)
                )
                of_day["requests"] += 1
                for name in _AMOUNTS:
                    of_day[name] += entry[name]
            if sums:
                await _add(connection, [dict(zip(_GROUP, key, strict=True)) | of_day for key, of_day in sums.items()])
        return len(moved)


async def _add(connection: AsyncConnection, days: Sequence[dict[str, object]]) -> None:
    statement = upsert(connection, usage_days)
    sums = {name: usage_days.c[name] + statement.excluded[name] for name in ("requests", *_AMOUNTS)}
    keyed = statement.on_conflict_do_update(index_elements=list(_GROUP), set_=sums)
    await connection.execute(keyed, sorted(days, key=lambda day: [str(day[name]) for name in _GROUP]))
