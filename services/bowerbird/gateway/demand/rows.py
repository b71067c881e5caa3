"""Demand as rows that expire: each replica writes what it wants of each variant, and reads what all of them want.

A replica renews its rows every second while there is something in them and deletes them when there is not, so that an
idle deployment writes nothing; one that dies is forgotten with the expiry of its rows. What somebody asks for by `POST`
(pre-warm) is a row of its own, until then. On PostgreSQL a rise is told to the others at once (`NOTIFY`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from sqlalchemy import Executable, delete, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from bowerbird.gateway.demand.level import Level
from bowerbird.gateway.demand.tables import demand
from bowerbird.gateway.records.database import Database, upsert

ROW_SECONDS = 5.0
"""How long a row holds: four renewals may fail before it is forgotten."""
CHANNEL = "bowerbird_demand"
PREWARMED = "prewarm"

Note = Callable[[AsyncConnection, int], Awaitable[None]]
"""Writes down, in the transaction of what is asked for, what was asked for before: pods."""


@dataclass(frozen=True, slots=True)
class Row:
    """What one source wants of one variant now."""

    source: str
    variant: str
    level: Level
    seconds_left: float = ROW_SECONDS


class DemandRows:
    """The rows of one database, as the replica `source` writes and reads them."""

    def __init__(self, database: Database, source: str) -> None:
        self.source = source
        self._database = database
        self._written = False

    async def write(self, levels: Mapping[str, Level], rises: bool = False) -> None:
        """This replica's rows, in place of those that it had; `rises`: the others should look now."""
        active = {variant: level for variant, level in levels.items() if level.active}
        if not active and not self._written:
            return
        async with self._database.writing(lasting=False) as connection:
            gone = delete(demand).where(demand.c.source == self.source, demand.c.variant.not_in(list(active)))
            await connection.execute(gone)
            for variant, level in active.items():
                await connection.execute(self._put(connection, Row(self.source, variant, level)))
            if rises and self._database.is_postgresql:
                await connection.execute(text("SELECT pg_notify(:channel, :source)"), self._told())
        self._written = bool(active)

    async def prewarm(self, variant: str, pods: int, seconds: float, note: Note | None = None) -> Row:
        """So many pods are wanted for so long, whatever the work; 0 of either takes that back."""
        row = Row(PREWARMED, variant, Level(pods=pods), seconds)
        theirs = demand.c.source == PREWARMED, demand.c.variant == variant
        async with self._database.writing() as connection:
            if note is not None:
                unexpired = demand.c.expires_ms > self._database.now()
                await note(connection, await connection.scalar(select(demand.c.pods).where(*theirs, unexpired)) or 0)
            if pods and seconds:
                await connection.execute(self._put(connection, row))
            else:
                await connection.execute(delete(demand).where(*theirs))
            if self._database.is_postgresql:
                await connection.execute(text("SELECT pg_notify(:channel, :source)"), self._told())
        return row

    async def read(self) -> list[Row]:
        """Every row that has not expired; raises RecordsUnavailable."""
        asking = select(demand, self._database.now().label("now_ms")).where(demand.c.expires_ms > self._database.now())
        return [
            Row(
                each.source,
                each.variant,
                Level(each.queued, each.running, each.draining, each.pods),
                (each.expires_ms - each.now_ms) / 1000,
            )
            for each in await self._database.rows(asking)
        ]

    async def sweep(self) -> None:
        """Removes what has expired, of replicas that died."""
        async with self._database.writing(lasting=False) as connection:
            await connection.execute(delete(demand).where(demand.c.expires_ms <= self._database.now()))

    async def leave(self) -> None:
        """This replica wants nothing any more: it ends."""
        await self.write({})

    def _told(self) -> dict[str, str]:
        return {"channel": CHANNEL, "source": self.source}

    def _put(self, connection: AsyncConnection, row: Row) -> Executable:
        values = {
            "queued": row.level.queued,
            "running": row.level.running,
            "draining": row.level.draining,
            "pods": row.level.pods,
            "expires_ms": self._database.now() + round(row.seconds_left * 1000),
        }
        draft = upsert(connection, demand).values(source=row.source, variant=row.variant, **values)
        return draft.on_conflict_do_update(index_elements=["source", "variant"], set_=values)
