"""What several replicas are asked for at once, one of them draws; and nobody waits for one that is gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import URL, func, make_url, select

from bowerbird.contracts import WorkClass
from bowerbird.errors import StageBroken
from bowerbird.gateway.records.database import Database, _engines, open_database
from bowerbird.gateway.results import claims as claiming
from bowerbird.gateway.results.claims import CLAIM_SECONDS, Claims
from bowerbird.gateway.results.lookup import Lookup
from bowerbird.gateway.results.memory import Memory
from bowerbird.gateway.results.metrics import ResultMetrics, Source
from bowerbird.gateway.results.result import Result
from bowerbird.gateway.results.results import Results, Wanted
from bowerbird.gateway.results.store import Keeping, ResultStore
from bowerbird.gateway.results.table import drawings

from ..conftest import closed_url
from .conftest import TTL_SECONDS, Shop
from .drawings import recipe, result

NAME = "interactive robin"


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claiming, "LOOKS_SECONDS", (0.01,))
    monkeypatch.setattr(claiming, "RENEW_SECONDS", 0.02)
    monkeypatch.setattr(claiming, "ROUNDS_PER_SWEEP", 5)
    monkeypatch.setattr(claiming, "ASK_SECONDS", 30.0)


@dataclass
class Replica:
    """One gateway process, with connections of its own."""

    database: Database
    claims: Claims
    results: Results
    drawn: int = 0
    failure: Exception | None = None

    def __post_init__(self) -> None:
        self.open = asyncio.Event()
        self.open.set()
        self.began = asyncio.Event()

    async def draw(self) -> Result:
        self.began.set()
        await asyncio.sleep(0.05)  # a drawing takes much longer than finding out that there is none
        await self.open.wait()
        if self.failure is not None:
            raise self.failure
        self.drawn += 1
        return result(f"picture {self.drawn} of {id(self)}".encode())

    def asks(self, work_class: WorkClass = WorkClass.INTERACTIVE, lookup: Lookup = Lookup.SEED) -> asyncio.Task[Source]:
        async def source() -> Source:
            return (await self.results.give(Wanted(recipe(), 7, lookup, 3.0, work_class), self.draw)).source

        return asyncio.create_task(source())


@asynccontextmanager
async def replica(shop: Shop, url: URL, owner: str) -> AsyncIterator[Replica]:
    async with open_database(url, shop.clock.now) as database:
        metrics, claims = ResultMetrics(CollectorRegistry()), Claims(database, owner)
        store = ResultStore(database, shop.pictures, Keeping(1_000, TTL_SECONDS), metrics)
        results = Results(store, b"s" * 32, metrics, Memory(0), claims)
        async with results.running():
            yield Replica(database, claims, results)


@pytest.fixture
async def one(shop: Shop, url: URL) -> AsyncIterator[Replica]:
    async with replica(shop, url, "one") as opened:
        yield opened


@pytest.fixture
async def two(shop: Shop, url: URL) -> AsyncIterator[Replica]:
    async with replica(shop, url, "two") as opened:
        yield opened


async def rows(shop: Shop) -> int:
    async with shop.database.reading() as connection:
        return int((await connection.execute(select(func.count()).select_from(drawings))).scalar_one())


async def until(fact: Callable[[], Awaitable[bool]]) -> None:
    for _ in range(3000):
        if await fact():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not become so")


async def nothing() -> str | None:
    return None


async def test_what_two_replicas_are_asked_for_at_once_is_drawn_once(shop: Shop, one: Replica, two: Replica) -> None:
    one.open.clear()
    first = one.asks()
    await one.began.wait()
    second = two.asks()
    await asyncio.sleep(0.1)
    assert not second.done()
    one.open.set()

    assert [await first, await second] == [Source.DRAWN, Source.SHARED]
    assert (one.drawn, two.drawn) == (1, 0)
    await until(lambda: _gone(shop))


@pytest.mark.parametrize("lookup", [Lookup.SEED, Lookup.ANY])
async def test_many_at_both_are_still_one_drawing(one: Replica, two: Replica, lookup: Lookup) -> None:
    sources = await asyncio.gather(*(each.asks(lookup=lookup) for _ in range(5) for each in (one, two)))

    assert one.drawn + two.drawn == 1
    assert sources.count(Source.DRAWN) == 1


async def test_when_the_one_fails_the_other_draws_itself(shop: Shop, one: Replica, two: Replica) -> None:
    one.open.clear()
    one.failure = StageBroken("a stage broke")
    first = one.asks()
    await one.began.wait()
    second = two.asks()
    one.open.set()

    with pytest.raises(StageBroken):
        await first
    assert await second is Source.DRAWN
    await until(lambda: _gone(shop))


async def test_when_the_client_of_the_one_hangs_up_the_other_draws_itself(one: Replica, two: Replica) -> None:
    one.open.clear()
    first = one.asks()
    await one.began.wait()
    second = two.asks()
    await asyncio.sleep(0.05)
    first.cancel()

    assert await second is Source.DRAWN


async def test_a_replica_that_died_is_believed_no_longer_than_its_claim_holds(
    shop: Shop, one: Replica, two: Replica
) -> None:
    dead = Claims(one.database, "dead")  # nobody renews what it claims
    assert await dead.found_or_claimed(f"interactive {recipe().names(b's' * 32, 7).key}", nothing) is None
    waits = two.asks()
    await asyncio.sleep(0.1)
    assert not waits.done()
    shop.clock.advance(CLAIM_SECONDS + 1)

    assert await waits is Source.DRAWN


async def test_a_claim_is_renewed_while_it_is_drawn(shop: Shop, one: Replica, two: Replica) -> None:
    one.open.clear()
    first = one.asks()
    await one.began.wait()
    second = two.asks()
    for _ in range(4):
        await until(lambda: _renewed(shop))
        shop.clock.advance(CLAIM_SECONDS - 1)
    one.open.set()

    assert [await first, await second] == [Source.DRAWN, Source.SHARED]


async def test_nobody_interactive_waits_for_another_replicas_batch(one: Replica, two: Replica) -> None:
    one.open.clear()
    batch = one.asks(WorkClass.BATCH)
    await one.began.wait()

    assert await two.asks() is Source.DRAWN
    one.open.set()
    await batch


async def test_while_the_database_is_away_everybody_draws() -> None:
    nowhere = make_url(closed_url()).set(drivername="postgresql+asyncpg", database="records")
    away = Database(*_engines(nowhere), None)

    assert await Claims(away, "one").found_or_claimed(NAME, nothing) is None
    await away.close()


async def test_rows_of_the_dead_are_removed(shop: Shop, one: Replica) -> None:
    dead = Claims(one.database, "dead")
    await dead.found_or_claimed(NAME, nothing)
    assert await rows(shop) == 1
    shop.clock.advance(CLAIM_SECONDS + 1)
    await until(lambda: _gone(shop))


async def _renewed(shop: Shop) -> bool:
    """Whether every claim holds for as long as one can from now."""
    async with shop.database.reading() as connection:
        until_ms = (await connection.execute(select(func.min(drawings.c.until_ms)))).scalar_one()
    return bool(until_ms == shop.clock.ms + round(CLAIM_SECONDS * 1000))


async def _gone(shop: Shop) -> bool:
    return await rows(shop) == 0
