"""What was drawn for whom: one entry for each piece of work, summed by day, model and variant.

An entry's key is the id of the job or request, so that counting twice is impossible rather than unlikely: a job's entry
is written in the transaction that ends it, that of a plain request while its answer leaves (`usage_buffer`). The
sweeper folds entries of past days into `usage_days`; `read` sums both in one statement, which sees a fold wholly or not
at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from prometheus_client import CollectorRegistry
from sqlalchemy import delete, func, literal, select, union_all
from sqlalchemy.ext.asyncio import AsyncConnection

from bowerbird.gateway.records.database import Database, upsert
from bowerbird.gateway.records.tables import usage_days, usage_entries
from bowerbird.gateway.records.usage_buffer import UsageBuffer
from bowerbird.gateway.records.writer import Writer

DAY_MS = 86_400_000
KEPT_DAYS = 7
"""How many days back an entry stands for itself: as long, `feedback` knows whose the request was and what drew it."""
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

    def __init__(self, database: Database, writer: Writer, registry: CollectorRegistry | None = None) -> None:
        self._database = database
        self._soon = UsageBuffer(writer, self.insert, registry or CollectorRegistry())

    def record_soon(self, entry: UsageEntry) -> None:
        """Has the entry of a request that is no job written down, while its answer leaves.

        Nobody waits for the commit: it would take a tenth as long again as a small picture, and a task of its own for
        each entry as long as half of an answer from the result store. So a gateway that is killed in this time has
        given a few pictures away; a job's entry, which is committed with its end, is never lost.
        """
        self._soon.add(entry)

    def kept(self) -> AbstractAsyncContextManager[None]:
        """Writes down at the end of the block what is to be written soon."""
        return self._soon.kept()

    async def insert(self, connection: AsyncConnection, entries: Sequence[UsageEntry]) -> Sequence[None]:
        """The entries, within the caller's transaction; the day is the database's."""
        statement = upsert(connection, usage_entries).values(day=self._database.now() // literal(DAY_MS))
        await connection.execute(statement.on_conflict_do_nothing(), [_row(entry) for entry in entries])
        return [None] * len(entries)

    async def read(self, tenant: str, first_day: int, last_day: int) -> list[UsageDay]:
        """A tenant's days, both ends included, oldest first; with all that this process has answered before.

        Raises RecordsUnavailable also when only writing fails: sums that lack something would look like sums.
        """
        await self._soon.written()
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

    async def find(self, tenant: str, work_id: str) -> UsageEntry | None:
        """The entry of one request or job, while it is kept, written or not."""
        soon = self._soon.get(work_id)
        if soon is not None:
            return soon if soon.tenant == tenant else None
        columns = (usage_entries.c[name] for name in UsageEntry.__slots__)
        asking = select(*columns).where(usage_entries.c.work_id == work_id, usage_entries.c.tenant == tenant)
        async with self._database.reading() as connection:
            row = (await connection.execute(asking)).first()
        return None if row is None else UsageEntry(**row._mapping)

    async def fold(self, of_tenant: str | None = None) -> int:
        """Moves entries that were kept long enough into their day's sum; how many were moved, 0 when all are.

        Those of a tenant that is to be forgotten at once: no feedback will ask for them any more.
        """
        today = self._database.now() // literal(DAY_MS)
        moving = usage_entries.c.day < today - KEPT_DAYS if of_tenant is None else usage_entries.c.tenant == of_tenant
        old = select(usage_entries.c.work_id).where(moving).limit(FOLD_ROWS)
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


def _row(entry: UsageEntry) -> dict[str, object]:
    """As `dataclasses.asdict`, which takes longer than to write the row."""
    return {name: getattr(entry, name) for name in UsageEntry.__slots__}


async def _add(connection: AsyncConnection, days: Sequence[dict[str, object]]) -> None:
    statement = upsert(connection, usage_days)
    sums = {name: usage_days.c[name] + statement.excluded[name] for name in ("requests", *_AMOUNTS)}
    keyed = statement.on_conflict_do_update(index_elements=list(_GROUP), set_=sums)
    await connection.execute(keyed, sorted(days, key=lambda day: [str(day[name]) for name in _GROUP]))
