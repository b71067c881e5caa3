"""What is said to the database about stored results; `store` says it, each function within a transaction of its own.

Whatever writes locks the ledger first (`locked`): replicas take turns, so that bytes and rows agree at every commit and
no two transactions wait for each other. SQLite has one writer anyway.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import Column, ColumnElement, Insert, Select, String, bindparam, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.dml import ReturningUpdate

from bowerbird.gateway.records.database import Database
from bowerbird.gateway.results.table import State, ledger, results
from bowerbird.gateway.results.worth import credit

PAGE = 100
_REPLACING = (
    update(results)
    .where(
        results.c.key.in_(bindparam("keys", expanding=True)),
        results.c.id.not_in(bindparam("ids", expanding=True)),
        results.c.state == State.READY,
    )
    .values(state=State.LEAVING)
)
_LOCKING = select(ledger.c.bytes, ledger.c.inflation).with_for_update()


@dataclass(frozen=True, slots=True)
class Ledger:
    """The one row that sums up the others."""

    bytes: int
    inflation: float


@dataclass(frozen=True, slots=True)
class Stored:
    """A row that answers."""

    id: str
    pictures: int
    digest: str
    facts: str


@dataclass(frozen=True, slots=True)
class Arrival:
    """A result about to be stored."""

    id: str
    key: str
    likeness: str
    pictures: int
    bytes: int
    digest: str
    facts: str
    cost: float
    flow: str
    person: str | None


async def found(database: Database, column: Column[str], name: str) -> Stored | None:
    """What answers to this name, or None; of several the one that is worth most, so that the others fall out."""
    for row in await database.rows(_finding(column, database.now()), of_name=name):
        return Stored(row.id, row.pictures, row.digest, row.facts)
    return None


@lru_cache(maxsize=8)
def _finding(column: Column[str], now: ColumnElement[int]) -> Select[Any]:
    """Built once: that takes longer than to carry it out, and every picture that is asked for is looked up."""
    return (
        select(results.c.id, results.c.pictures, results.c.digest, results.c.facts)
        .where(column == bindparam("of_name", type_=String), results.c.state == State.READY, results.c.expires_ms > now)
        .order_by(results.c.credit.desc())
        .limit(1)
    )


async def locked(connection: AsyncConnection) -> Ledger:
    """The ledger, which stays as it is until this transaction ends."""
    return Ledger(*(await connection.execute(_LOCKING)).one())


async def summed(connection: AsyncConnection) -> Ledger:
    """The ledger as it is now."""
    return Ledger(*(await connection.execute(select(ledger.c.bytes, ledger.c.inflation))).one())


async def reserve(
    connection: AsyncConnection, arrivals: Sequence[Arrival], inflation: float, until: ColumnElement[int]
) -> None:
    """Puts the rows of results whose files come next; they expire soon, should their writer die."""
    if not arrivals:
        return
    rows = [
        {name: getattr(each, name) for name in Arrival.__slots__}
        | {"credit": credit(inflation, 1, each.cost, each.bytes)}
        for each in arrivals
    ]
    await connection.execute(_reserving(until), rows)
    await _add_bytes(connection, sum(each.bytes for each in arrivals))


async def make_ready(connection: AsyncConnection, arrivals: Sequence[Arrival], until: ColumnElement[int]) -> set[str]:
    """Lets rows whose files are written answer, instead of their namesakes; the ids of those not given up meanwhile.

    Of namesakes that become ready together the last one stays.
    """
    ready = set((await connection.execute(_readying(until), {"ids": [each.id for each in arrivals]})).scalars())
    if last := {each.key: each.id for each in arrivals if each.id in ready}:
        await connection.execute(_REPLACING, {"keys": list(last), "ids": list(last.values())})
    return ready


@lru_cache(maxsize=8)
def _reserving(until: ColumnElement[int]) -> Insert:
    return results.insert().values(state=State.ARRIVING, uses=1, expires_ms=until)


@lru_cache(maxsize=8)
def _readying(until: ColumnElement[int]) -> ReturningUpdate[Any]:
    own = results.c.id.in_(bindparam("ids", expanding=True)) & (results.c.state == State.ARRIVING)
    return update(results).where(own).values(state=State.READY, expires_ms=until).returning(results.c.id)


async def give_up(connection: AsyncConnection, row_id: str) -> bool:
    """Lets nobody find a row any more; False when it was leaving anyway."""
    own = (results.c.id == row_id) & (results.c.state == State.READY)
    return bool((await connection.execute(update(results).where(own).values(state=State.LEAVING))).rowcount)


async def abandon(connection: AsyncConnection, row_id: str) -> None:
    """Has an arrival leave that is not to be kept."""
    own = (results.c.id == row_id) & (results.c.state == State.ARRIVING)
    await connection.execute(update(results).where(own).values(state=State.LEAVING))


async def count_uses(connection: AsyncConnection, uses: Mapping[str, int], inflation: float) -> None:
    """Lifts the credit of what was used so often since it was last counted (`worth.credit`)."""
    if not uses:
        return
    more = results.c.uses + bindparam("more")
    lift = (
        update(results)
        .where(results.c.id == bindparam("used"), results.c.state == State.READY)
        .values(uses=more, credit=inflation + more * results.c.cost / results.c.bytes)
    )
    await connection.execute(lift, [{"used": each, "more": count} for each, count in sorted(uses.items())])


async def evict(connection: AsyncConnection, wanted_bytes: int, inflation: float) -> int:
    """Has the least worth leave until at least `wanted_bytes` will be free; how many, and inflation follows them."""
    evicted, freed = 0, await leaving_bytes(connection)
    while freed < wanted_bytes:
        least = (
            select(results.c.id, results.c.bytes, results.c.credit)
            .where(results.c.state == State.READY)
            .order_by(results.c.credit, results.c.expires_ms)
            .limit(PAGE)
        )
        victims = []
        for row_id, size, own_credit in await connection.execute(least):
            if freed >= wanted_bytes:
                break
            victims.append(row_id)
            freed, inflation = freed + size, max(inflation, own_credit)
        if not victims:
            break
        await connection.execute(update(results).where(results.c.id.in_(victims)).values(state=State.LEAVING))
        evicted += len(victims)
    await connection.execute(update(ledger).values(inflation=inflation))
    return evicted


async def expire(connection: AsyncConnection, now: ColumnElement[int]) -> int:
    """Has leave what is too old, and arrivals whose writer has died; how many."""
    old = (results.c.expires_ms <= now) & (results.c.state != State.LEAVING)
    return (await connection.execute(update(results).where(old).values(state=State.LEAVING))).rowcount


async def leaving(connection: AsyncConnection) -> Sequence[tuple[str, int]]:
    """Ids and numbers of pictures of some whose files are to be deleted."""
    asked = select(results.c.id, results.c.pictures).where(results.c.state == State.LEAVING).limit(PAGE)
    return [(row_id, pictures) for row_id, pictures in await connection.execute(asked)]


async def leaving_bytes(connection: AsyncConnection) -> int:
    """What is about to be free."""
    asked = select(func.coalesce(func.sum(results.c.bytes), 0)).where(results.c.state == State.LEAVING)
    return int((await connection.execute(asked)).scalar_one())


async def remove(connection: AsyncConnection, row_ids: Sequence[str]) -> None:
    """Takes away the rows whose files are deleted."""
    gone = delete(results).where(results.c.id.in_(row_ids), results.c.state == State.LEAVING).returning(results.c.bytes)
    await _add_bytes(connection, -sum((await connection.execute(gone)).scalars()))


async def known(connection: AsyncConnection, row_ids: Sequence[str]) -> set[str]:
    """Those of these ids that have a row."""
    return set((await connection.execute(select(results.c.id).where(results.c.id.in_(row_ids)))).scalars())


async def leave(connection: AsyncConnection, flow: str, person: str | None) -> tuple[int, int]:
    """Has everything leave that was drawn for this person, or for all of the tenant; how many results and pictures."""
    theirs = (results.c.flow == flow) & (results.c.state != State.LEAVING)
    if person is not None:
        theirs &= results.c.person == person
    going = update(results).where(theirs).values(state=State.LEAVING).returning(results.c.pictures)
    pictures = (await connection.execute(going)).scalars().all()
    return len(pictures), sum(pictures)


async def _add_bytes(connection: AsyncConnection, count: int) -> None:
    values: dict[str, Any] = {"bytes": ledger.c.bytes + count}
    await connection.execute(update(ledger).values(**values))
