"""What the story gets: stored where that is right, else drawn, once, and stored."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from bowerbird.contracts import WorkClass
from bowerbird.errors import ImageRefused, RecordsUnavailable, StageBroken
from bowerbird.gateway.results.lookup import Lookup
from bowerbird.gateway.results.memory import Memory
from bowerbird.gateway.results.metrics import ResultMetrics, Source
from bowerbird.gateway.results.result import Result
from bowerbird.gateway.results.results import LOOK_UP_SECONDS, Given, Results, Wanted
from bowerbird.gateway.results.store import Found, Keeping, ResultStore

from .conftest import Shop
from .drawings import OTHER_DIGEST, recipe, result

pytestmark = pytest.mark.parametrize("url", ["sqlite"], indirect=True)  # the database is the store's affair

SECRET = b"s" * 32


@dataclass
class Atelier:
    """Draws another picture each time, and counts."""

    drawn: list[Result] = field(default_factory=list)
    fails: list[Exception] = field(default_factory=list)
    open: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.open.set()

    async def draw(self) -> Result:
        await self.open.wait()
        if self.fails:
            raise self.fails.pop(0)
        self.drawn.append(result(f"picture {len(self.drawn)}".encode(), request_id=f"req_{len(self.drawn)}"))
        return self.drawn[-1]


def wanted(
    lookup: Lookup = Lookup.SEED, seed: int = 7, work_class: Any = WorkClass.INTERACTIVE, **changes: Any
) -> Wanted:
    return Wanted(recipe(**changes), seed, lookup, cost=3.0, work_class=work_class)


def results_of(store: ResultStore | None, metrics: ResultMetrics, memory_bytes: int = 100_000) -> Results:
    return Results(store, SECRET, metrics, Memory(memory_bytes))


@pytest.fixture
def atelier() -> Atelier:
    return Atelier()


@pytest.fixture(params=[0, 10_000], ids=["from the store", "from memory"])
async def results(shop: Shop, request: pytest.FixtureRequest) -> AsyncIterator[Results]:
    results = results_of(shop.store, shop.metrics, request.param)
    async with results.running():
        yield results


async def until_followed(results: Results, count: int) -> None:
    """Until so many wait for what another draws."""
    async with asyncio.timeout(60):
        while results._flights._following < count:  # noqa: ASYNC110 - it says so to nobody
            await asyncio.sleep(0.005)


async def test_the_second_identical_request_gets_the_first_ones_pictures(results: Results, atelier: Atelier) -> None:
    first = await results.give(wanted(), atelier.draw)
    await results.settled()
    second = await results.give(wanted(), atelier.draw)

    assert (first.source, second.source) == (Source.DRAWN, Source.STORED)
    assert first.result == second.result
    assert len(atelier.drawn) == 1


async def test_what_was_just_drawn_is_given_while_it_is_still_being_stored(shop: Shop, atelier: Atelier) -> None:
    results = results_of(shop.store, shop.metrics)
    async with results.running():
        await results.give(wanted(), atelier.draw)
        assert (await results.give(wanted(), atelier.draw)).source is Source.STORED


async def test_what_one_replica_drew_another_gives(shop: Shop, results: Results, atelier: Atelier) -> None:
    await results.give(wanted(), atelier.draw)
    await results.settled()
    other = results_of(shop.another(1_000), shop.metrics)

    assert (await other.give(wanted(), atelier.draw)).source is Source.STORED


async def test_what_memory_gave_counts_as_used(shop: Shop, atelier: Atelier) -> None:
    results = results_of(shop.another(22), shop.metrics)
    async with results.running():
        for seed in (1, 2):
            await results.give(wanted(seed=seed), atelier.draw)
            await results.settled()
        for _ in range(8):
            await results.give(wanted(seed=1), atelier.draw)
        await results.give(wanted(seed=3), atelier.draw)
        await results.settled()

    assert await shop.store.find(wanted().recipe.names(SECRET, 1).key) is not None
    assert await shop.store.find(wanted().recipe.names(SECRET, 2).key) is None


@pytest.mark.parametrize("change", [{"prompt": "a jay"}, {"tenant": "key-2"}, {"steps": 3}, {"seed": 8}])
async def test_another_request_is_drawn(results: Results, atelier: Atelier, change: dict[str, Any]) -> None:
    await results.give(wanted(), atelier.draw)
    await results.settled()
    given = await results.give(wanted(**change), atelier.draw)

    assert given == Given(atelier.drawn[1], Source.DRAWN)


async def test_after_a_change_of_policy_the_picture_is_drawn_again(results: Results, atelier: Atelier) -> None:
    await results.give(wanted(), atelier.draw)
    await results.settled()

    async def under_the_new_policy() -> Result:
        drawn = await atelier.draw()
        return Result(drawn.facts.model_copy(update={"policy": OTHER_DIGEST}), drawn.pictures)

    given = await results.give(wanted(policy=OTHER_DIGEST), under_the_new_policy)
    assert given.source is Source.DRAWN


async def test_what_was_drawn_with_something_else_than_was_looked_up_is_not_stored(
    results: Results, atelier: Atelier
) -> None:
    changed = wanted(policy=OTHER_DIGEST)
    await results.give(changed, atelier.draw)
    await results.settled()
    await results.give(changed, atelier.draw)

    assert len(atelier.drawn) == 2


async def test_any_is_content_with_another_seed_and_fresh_is_not_content_at_all(
    results: Results, atelier: Atelier
) -> None:
    await results.give(wanted(), atelier.draw)
    await results.settled()

    assert (await results.give(wanted(Lookup.ANY, seed=8), atelier.draw)).source is Source.STORED
    assert (await results.give(wanted(Lookup.NONE), atelier.draw)).source is Source.FRESH
    assert len(atelier.drawn) == 2
    await results.settled()
    assert (await results.give(wanted(), atelier.draw)).result == atelier.drawn[1]


async def test_a_fresh_picture_without_a_seed_may_answer_any_later(results: Results, atelier: Atelier) -> None:
    await results.give(wanted(Lookup.NONE, seed=99), atelier.draw)
    await results.settled()

    assert (await results.give(wanted(Lookup.ANY, seed=5), atelier.draw)).source is Source.STORED
    assert (await results.give(wanted(seed=99), atelier.draw)).source is Source.STORED


async def test_concurrent_identical_requests_are_drawn_once(shop: Shop, results: Results, atelier: Atelier) -> None:
    atelier.open.clear()
    asked = [asyncio.create_task(results.give(wanted(), atelier.draw)) for _ in range(10)]
    await until_followed(results, 9)
    atelier.open.set()
    given = await asyncio.gather(*asked)

    assert len(atelier.drawn) == 1
    assert [each.source for each in given] == [Source.DRAWN] + [Source.SHARED] * 9
    sample = shop.registry.get_sample_value
    assert sample("bowerbird_result_answers_total", {"source": "shared", "wanted": "seed"}) == 9
    await results.settled()


async def test_fresh_requests_share_nothing(results: Results, atelier: Atelier) -> None:
    given = await asyncio.gather(*(results.give(wanted(Lookup.NONE), atelier.draw) for _ in range(3)))

    assert len({each.result.entity_tag for each in given}) == 3


async def test_nobody_interactive_waits_for_the_drawing_of_a_batch(results: Results, atelier: Atelier) -> None:
    atelier.open.clear()
    batch = asyncio.create_task(results.give(wanted(work_class=WorkClass.BATCH), atelier.draw))
    await asyncio.sleep(0.05)  # whether it draws already or only looks makes no difference
    interactive = Atelier()
    given = await results.give(wanted(), interactive.draw)

    assert given == Given(interactive.drawn[0], Source.DRAWN)
    atelier.open.set()
    await batch
    await results.settled()


@pytest.mark.parametrize(
    ("lookup", "failure", "draws"),
    [
        (Lookup.SEED, ImageRefused("no candidate"), 0),
        (Lookup.ANY, ImageRefused("no candidate"), 1),
        (Lookup.SEED, StageBroken("a stage broke"), 1),
    ],
)
async def test_a_refused_picture_is_refused_to_all_who_want_this_seed_and_to_nobody_else(
    results: Results, atelier: Atelier, lookup: Lookup, failure: Exception, draws: int
) -> None:
    atelier.open.clear()
    atelier.fails.append(failure)
    asked = [asyncio.create_task(results.give(wanted(lookup), atelier.draw)) for _ in range(3)]
    await until_followed(results, 2)
    atelier.open.set()
    ends = await asyncio.gather(*asked, return_exceptions=True)

    assert len(atelier.drawn) == draws
    assert sum(isinstance(end, type(failure)) for end in ends) == (1 if draws else 3)
    await results.settled()


class AwayStore(ResultStore):
    """A store whose database is away."""

    async def find(self, key: str) -> Found | None:
        raise RecordsUnavailable("away")

    async def put(self, *_: Any) -> str | None:
        raise RecordsUnavailable("away")


async def test_pictures_are_drawn_while_the_database_is_away(shop: Shop, atelier: Atelier) -> None:
    away = AwayStore(shop.database, shop.pictures, Keeping(1_000, 60.0), shop.metrics)
    results = results_of(away, shop.metrics, memory_bytes=0)
    first = await results.give(wanted(), atelier.draw)
    await results.settled()
    second = await results.give(wanted(), atelier.draw)
    await results.settled()

    assert (first.source, second.source) == (Source.DRAWN, Source.DRAWN)
    sample = shop.registry.get_sample_value
    assert sample("bowerbird_result_failures_total", {"what": "look_up"}) == 2
    assert sample("bowerbird_result_failures_total", {"what": "store"}) == 2


class SlowStore(ResultStore):
    """A store that finds nothing before it may."""

    may_answer: asyncio.Event

    async def find(self, key: str) -> Found | None:
        await self.may_answer.wait()
        return await super().find(key)


async def test_a_batch_waits_for_a_slow_store_and_draws_nothing_twice_while_who_looks_at_a_screen_does_not_wait(
    shop: Shop, atelier: Atelier, monkeypatch: pytest.MonkeyPatch
) -> None:
    await shop.store.put(wanted().recipe.names(SECRET, 7), 3.0, result(b"there"))
    slow = SlowStore(shop.database, shop.pictures, Keeping(1_000, 60.0), shop.metrics)
    slow.may_answer = asyncio.Event()
    results = results_of(slow, shop.metrics, memory_bytes=0)
    monkeypatch.setitem(LOOK_UP_SECONDS, WorkClass.INTERACTIVE, 0.01)
    batch = asyncio.create_task(results.give(wanted(work_class=WorkClass.BATCH), atelier.draw))
    interactive = await results.give(wanted(seed=8), atelier.draw)
    slow.may_answer.set()

    assert interactive.source is Source.DRAWN
    assert (await batch).source is Source.STORED
    assert len(atelier.drawn) == 1
    await results.settled()


async def test_whether_a_result_is_stored_is_known_when_it_is_and_a_failure_is_made_good(
    shop: Shop, atelier: Atelier
) -> None:
    away = AwayStore(shop.database, shop.pictures, Keeping(1_000, 60.0), shop.metrics)
    failing = results_of(away, shop.metrics)
    first = await failing.give(wanted(), atelier.draw)
    again = await failing.give(wanted(), atelier.draw)
    assert (first.source, again.source) == (Source.DRAWN, Source.STORED)
    assert [await each.is_stored() for each in (first, again)] == [False, False]

    failing._store = shop.store  # the database is back
    healed = await failing.give(wanted(), atelier.draw)
    assert await healed.is_stored()
    found = await results_of(shop.another(1_000), shop.metrics).give(wanted(), atelier.draw)
    assert (found.source, await found.is_stored(), len(atelier.drawn)) == (Source.STORED, True, 1)


async def test_where_nothing_is_stored_nothing_is_said_to_be(shop: Shop, atelier: Atelier) -> None:
    given = await results_of(None, shop.metrics).give(wanted(), atelier.draw)
    assert not await given.is_stored()


async def test_where_nothing_is_stored_identical_requests_are_still_drawn_once(shop: Shop, atelier: Atelier) -> None:
    results = results_of(None, shop.metrics)
    atelier.open.clear()
    asked = [asyncio.create_task(results.give(wanted(), atelier.draw)) for _ in range(3)]
    await until_followed(results, 2)
    atelier.open.set()
    given = await asyncio.gather(*asked)
    async with results.running():
        again = await results.give(wanted(), atelier.draw)

    assert [each.source for each in given] == [Source.DRAWN, Source.SHARED, Source.SHARED]
    assert again.source is Source.DRAWN
    assert not results.stores
