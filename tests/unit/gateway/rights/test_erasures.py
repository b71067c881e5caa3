"""Erasures as rows: one carrier at a time, and what an overtaken one does is undone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from sqlalchemy import URL, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from bowerbird.errors import ErasureUnknown
from bowerbird.gateway.call import flow_of
from bowerbird.gateway.feedback.tables import feedback
from bowerbird.gateway.identity.audit import AuditLog, Author
from bowerbird.gateway.records.database import Database, open_database
from bowerbird.gateway.records.people import People
from bowerbird.gateway.rights.erasures import Claim, Erasures, State, TakenOver
from bowerbird.gateway.rights.fence import was_erased
from bowerbird.gateway.rights.holding import Rows
from bowerbird.gateway.rights.holdings.rows import of_people
from bowerbird.gateway.rights.subject import Subject

from ..identity.conftest import Clock

AUTHOR = Author("key:key_1", "req_1")
SOMEBODY = Subject("birds", "a" * 64)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def database(url: URL, clock: Clock) -> AsyncIterator[Database]:
    async with open_database(url, clock.now) as opened:
        yield opened


@pytest.fixture
def erasures(database: Database) -> Erasures:
    return Erasures(database, AuditLog(database))


async def claimed(erasures: Erasures, owner: str = "one") -> Claim:
    claim = await erasures.claim(owner, 30.0)
    assert claim is not None
    return claim


async def test_one_carries_it_until_its_lease_has_run_out(erasures: Erasures, clock: Clock) -> None:
    await erasures.request(SOMEBODY, AUTHOR)
    first = await claimed(erasures)
    assert first.subject == SOMEBODY
    assert await erasures.claim("two", 30.0) is None
    clock.advance(20)
    await erasures.renew(first, 30.0)
    clock.advance(20)
    assert await erasures.claim("two", 30.0) is None
    clock.advance(11)
    second = await claimed(erasures, "two")
    assert (second.id, second.epoch) == (first.id, first.epoch + 1)
    for late in (erasures.renew(first, 30.0), erasures.tell(first, "remove"), erasures.finish(first, rewritten=True)):
        with pytest.raises(TakenOver):
            await late
    finished = await erasures.finish(second, rewritten=True)
    assert finished.state is State.FINISHED
    assert await erasures.claim("three", 30.0) is None


async def test_asking_again_at_once_is_asking_once_and_later_is_asking_anew(erasures: Erasures, clock: Clock) -> None:
    first = await erasures.request(SOMEBODY, AUTHOR)
    clock.advance(100)
    assert (await erasures.request(SOMEBODY, AUTHOR)).id == first.id, "nobody has begun it"
    second = await erasures.request(Subject("birds", "b" * 64), AUTHOR)
    while await erasures.claim("one", 30.0):
        pass
    clock.advance(5)
    assert (await erasures.request(Subject("birds", "b" * 64), AUTHOR)).id == second.id
    clock.advance(6)
    assert (await erasures.request(Subject("birds", "b" * 64), AUTHOR)).id != second.id


async def test_what_an_overtaken_carrier_removes_is_neither_gone_nor_counted(
    erasures: Erasures, database: Database, clock: Clock
) -> None:
    await said(database)
    await erasures.request(SOMEBODY, AUTHOR)
    late = await claimed(erasures)
    clock.advance(31)
    present = await claimed(erasures, "two")
    opinions: Rows = of_people(database)[0]

    async def count_as_late(connection: AsyncConnection, gone: object) -> None:
        await erasures.count(connection, late, gone)  # type: ignore[arg-type]

    with pytest.raises(TakenOver):
        await opinions.remove(SOMEBODY, count_as_late)
    assert await opinions_kept(database) == 1

    async def count(connection: AsyncConnection, gone: object) -> None:
        await erasures.count(connection, present, gone)  # type: ignore[arg-type]

    await opinions.remove(SOMEBODY, count)
    assert await opinions_kept(database) == 0
    assert (await erasures.get(present.id, "birds")).erased == {"feedback": 1}


async def test_an_erasure_is_its_tenants_and_shown_for_a_month(erasures: Erasures, clock: Clock) -> None:
    made = await erasures.request(SOMEBODY, AUTHOR)
    assert made.due_ms - made.requested_ms == 24 * 3_600_000
    assert [each.id for each in await erasures.page("birds", None, 10)] == [made.id]
    assert await erasures.page("birds", made.id, 10) == []
    assert await erasures.page("cats", None, 10) == []
    with pytest.raises(ErasureUnknown):
        await erasures.get(made.id, "cats")
    await erasures.finish(await claimed(erasures), rewritten=False)
    clock.advance(29 * 86_400)
    await erasures.sweep()
    assert (await erasures.get(made.id, None)).rewritten is False
    clock.advance(2 * 86_400)
    await erasures.sweep()
    with pytest.raises(ErasureUnknown):
        await erasures.get(made.id, None)


async def test_what_was_begun_before_an_erasure_is_known_by_its_age(
    erasures: Erasures, database: Database, clock: Clock
) -> None:
    await erasures.request(SOMEBODY, AUTHOR)
    clock.advance(100)

    async def erased(tenant: str, person: str | None, age_seconds: float) -> bool:
        async with database.reading() as connection:
            began = time.perf_counter() - age_seconds
            return await was_erased(connection, flow_of(tenant), person, began, database.now())

    assert await erased("birds", SOMEBODY.person, 101)
    assert not await erased("birds", SOMEBODY.person, 99), "it came after the erasure was asked for"
    assert not await erased("birds", None, 101)
    assert not await erased("birds", "b" * 64, 101)
    assert not await erased("cats", SOMEBODY.person, 101)
    await erasures.request(Subject("cats", None), AUTHOR)
    assert await erased("cats", None, 1)
    assert await erased("cats", SOMEBODY.person, 1)


async def test_what_was_begun_before_an_erasure_is_known_although_the_process_stands_still_meanwhile(
    erasures: Erasures, database: Database, clock: Clock
) -> None:
    began = time.perf_counter()
    await erasures.request(SOMEBODY, AUTHOR)

    class Slow:
        """A connection whose statements reach the database later than they were written."""

        def __init__(self, connection: AsyncConnection) -> None:
            self._connection = connection

        async def scalar(self, statement: Any) -> Any:
            await asyncio.sleep(0.3)
            return await self._connection.scalar(statement)

    clock.advance(0.3)
    async with database.reading() as connection:
        slow = cast("AsyncConnection", Slow(connection))
        assert await was_erased(slow, flow_of("birds"), SOMEBODY.person, began, database.now())


def test_a_person_is_one_name_in_a_tenant_and_another_in_the_next() -> None:
    people = People(b"s" * 32)
    birds, cats = flow_of("birds"), flow_of("cats")
    assert people.name(birds, "user-1") == people.name(birds, "user-1")
    names = {people.name(birds, "user-1"), people.name(cats, "user-1"), People(b"t" * 32).name(birds, "user-1")}
    assert len(names) == 3
    assert people.name(birds, "") is people.name(birds, None) is None


async def said(database: Database) -> None:
    row = {
        **{"tenant": "birds", "request_id": "req_1", "image": -1, "kind": "like", "rater": "x", "id": "fb_1"},
        **{"model_digest": "sha256:m", "variant": "v", "pictures": 1, "tags": "[]", "rewards_version": 1},
        **{"rewards_digest": "sha256:r", "created_ms": 1, "updated_ms": 1, "person": SOMEBODY.person},
    }
    async with database.writing() as connection:
        await connection.execute(insert(feedback).values(**row))


async def opinions_kept(database: Database) -> int:
    async with database.reading() as connection:
        return len((await connection.execute(select(feedback.c.id))).all())
