"""Handing out: shares of windows and slots, in the database, so that all replicas together keep to the quota.

Every hand-out is one statement about one row, so that nothing has to be read first: `handed_out` grows by what is
wanted, or by what is left, or not at all where that is less than what is needed. Hand-outs of many tenants go into one
transaction of the `writer`, in the order of their keys, so that two replicas never wait for each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, case, delete, func, literal, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from bowerbird.gateway.limits.share import HandOut, Want
from bowerbird.gateway.limits.slots import LEASE_SECONDS
from bowerbird.gateway.limits.table import limit_slots, limit_windows
from bowerbird.gateway.records.database import Database, upsert
from bowerbird.gateway.records.writer import Writer

_LOCK = 0x736C6F7473  # "slots": who counts others' slots excludes those who take some meanwhile


@dataclass(frozen=True, slots=True)
class Order:
    """What one replica wants of one tenant's limits; each limit and window once."""

    tenant: str
    wants: tuple[Want, ...]


@dataclass(frozen=True, slots=True)
class SlotOrder:
    """How many of a tenant's slots a replica wants to hold in all; 0 gives them back."""

    tenant: str
    wanted: int
    quota: int


class Ledger:
    """The hand-outs of one database to one replica (`owner`)."""

    def __init__(self, database: Database, writer: Writer, owner: str) -> None:
        self._database = database
        self._writer = writer
        self._owner = owner

    async def hand_out(self, order: Order) -> list[HandOut]:
        """What is handed out for each want, in their order; raises RecordsUnavailable."""
        return await self._writer.submit(self._hand_out_all, order, lasting=False)

    async def lease_slots(self, order: SlotOrder) -> int:
        """How many slots the replica holds from now on, at most what it wanted; raises RecordsUnavailable."""
        return await self._writer.submit(self._lease_all, order, lasting=False)

    async def sweep(self) -> None:
        """Removes windows and leases that are over."""
        async with self._database.writing(lasting=False) as connection:
            past = self._database.now() - literal(60_000)  # whoever still reckons with them has asked by then
            await connection.execute(delete(limit_windows).where(limit_windows.c.ends_ms < past))
            await connection.execute(delete(limit_slots).where(limit_slots.c.until_ms < past))

    async def _hand_out_all(self, connection: AsyncConnection, orders: Sequence[Order]) -> Sequence[list[HandOut]]:
        asked = {
            (order.tenant, want.limit.name, want.ahead, place): (want, place)
            for place, order in enumerate(orders)
            for want in order.wants
        }
        outs: list[dict[tuple[str, int], HandOut]] = [{} for _ in orders]
        for tenant, name, ahead, place in sorted(asked):
            want, _ = asked[tenant, name, ahead, place]
            outs[place][name, ahead] = await self._hand_out_one(connection, tenant, want)
        return [
            [of_order[want.limit.name, want.ahead] for want in order.wants]
            for order, of_order in zip(orders, outs, strict=True)
        ]

    async def _hand_out_one(self, connection: AsyncConnection, tenant: str, want: Want) -> HandOut:
        limit, rows = want.limit, limit_windows.c
        length_ms = limit.seconds * 1000
        number = self._database.now() // literal(length_ms) + literal(want.ahead)
        first = min(want.wanted, limit.quota) if want.needed <= limit.quota else 0.0
        draft = upsert(connection, limit_windows).values(
            tenant=tenant,
            name=limit.name,
            number=number,
            quota=limit.quota,
            handed_out=first,
            wanted=want.wanted,
            needed=want.needed,
            granted=first,
            ends_ms=(number + literal(1)) * literal(length_ms),
        )
        asking = draft.excluded
        left = _not_negative(asking.quota - rows.handed_out)
        granted = case((left < asking.needed, 0.0), (left < asking.wanted, left), else_=asking.wanted)
        statement = draft.on_conflict_do_update(
            index_elements=[rows.tenant, rows.name, rows.number],
            set_={
                "quota": asking.quota,
                "wanted": asking.wanted,
                "needed": asking.needed,
                "granted": granted,
                "handed_out": rows.handed_out + granted,
            },
        ).returning(rows.number, rows.granted, rows.handed_out, self._database.now().label("now_ms"))
        row = (await connection.execute(statement)).one()
        seconds = ((row.number + 1) * length_ms - row.now_ms) / 1000
        return HandOut(row.number, row.granted, max(0.0, limit.quota - row.handed_out), seconds)

    async def _lease_all(self, connection: AsyncConnection, orders: Sequence[SlotOrder]) -> Sequence[int]:
        if connection.dialect.name == "postgresql":  # SQLite's transaction has excluded other writers from its begin
            await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        held = {}
        for place in sorted(range(len(orders)), key=lambda place: orders[place].tenant):
            held[place] = await self._lease_one(connection, orders[place])
        return [held[place] for place in range(len(orders))]

    async def _lease_one(self, connection: AsyncConnection, order: SlotOrder) -> int:
        rows, now = limit_slots.c, self._database.now()
        others = select(func.coalesce(func.sum(rows.slots), 0)).where(
            rows.tenant == order.tenant, rows.owner != self._owner, rows.until_ms > now
        )
        taken = int(await connection.scalar(others) or 0)
        held = max(0, min(order.wanted, order.quota - taken))
        until = now + literal(round(LEASE_SECONDS * 1000))
        draft = upsert(connection, limit_slots).values(
            tenant=order.tenant, owner=self._owner, slots=held, until_ms=until
        )
        keeping = draft.on_conflict_do_update(
            index_elements=[rows.tenant, rows.owner],
            set_={"slots": draft.excluded.slots, "until_ms": draft.excluded.until_ms},
        )
        await connection.execute(keeping)
        return held


def _not_negative(amount: ColumnElement[float]) -> ColumnElement[float]:
    """A quota that was lowered may lie below what is handed out."""
    return case((amount < 0, 0.0), else_=amount)
