"""Demand as rows: every replica answers for all, whoever holds KEDA's stream, and nobody for what it cannot know."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import URL, BigInteger, ColumnElement, literal

from bowerbird.gateway.admission.admission import Admission
from bowerbird.gateway.admission.order import Order
from bowerbird.gateway.demand.level import Demand, Level
from bowerbird.gateway.demand.rows import ROW_SECONDS, DemandRows, Row
from bowerbird.gateway.demand.sharing import Sharing
from bowerbird.gateway.demand.wanted import Wanted, wanted
from bowerbird.gateway.in_flight import InFlight
from bowerbird.gateway.records.database import open_database
from bowerbird.gateway.records.listening import Listener
from bowerbird.gateway.upstream import Stage

VARIANTS = {stage: stage.value for stage in Stage}


@dataclass
class Clock:
    ms: int = 1_795_262_400_000

    def now(self) -> ColumnElement[int]:
        return literal(self.ms, BigInteger)


# ------------------------------------------------------------------------------------------------------ what is wanted


def levels(*work: tuple[int, int]) -> list[Row]:
    return [Row(f"replica-{at}", "draws", Level(queued, running)) for at, (queued, running) in enumerate(work)]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([], Wanted(False, 0)),
        (levels((0, 0)), Wanted(False, 0)),
        (levels((1, 0)), Wanted(True, 1)),
        (levels((0, 8), (0, 8)), Wanted(True, 2)),
        (levels((1, 8), (0, 8)), Wanted(True, 3)),
        ([Row("replica", "draws", Level(draining=3))], Wanted(True, 1)),
        ([Row("prewarm", "draws", Level(pods=4)), *levels((0, 9))], Wanted(True, 4)),
        ([Row("replica", "judges", Level(9, 9, 9, 9))], Wanted(False, 0)),
    ],
)
def test_pods_are_wanted_for_the_work_of_all_or_the_highest_floor(rows: list[Row], expected: Wanted) -> None:
    assert wanted(rows, "draws", 8) == expected


LEVEL = st.builds(Level, *[st.integers(0, 40)] * 3, st.integers(0, 5))


@given(st.lists(LEVEL, max_size=4), st.integers(1, 16), LEVEL)
def test_more_work_never_wants_fewer_pods(before: list[Level], per_pod: int, more: Level) -> None:
    rows = [Row(f"replica-{at}", "draws", level) for at, level in enumerate(before)]
    one, two = wanted(rows, "draws", per_pod), wanted([*rows, Row("another", "draws", more)], "draws", per_pod)
    assert two.pods >= one.pods
    assert two.active == (one.active or more.active)
    assert (two.pods > 0) == two.active


# ------------------------------------------------------------------------------------------------------------ the rows


async def test_rows_are_everybodys_until_they_expire(url: URL) -> None:
    clock = Clock()
    async with open_database(url, clock.now) as database:
        one, two = DemandRows(database, "one"), DemandRows(database, "two")
        await one.write({"draws": Level(1, 2, 3), "judges": Level()})
        await two.write({"draws": Level(queued=4)})
        assert sorted((row.source, row.variant, row.level) for row in await two.read()) == [
            ("one", "draws", Level(1, 2, 3)),
            ("two", "draws", Level(queued=4)),
        ]
        await one.write({"judges": Level(running=1)})
        assert [(row.source, row.variant) for row in await one.read() if row.source == "one"] == [("one", "judges")]
        await one.leave()
        assert [row.source for row in await one.read()] == ["two"]
        clock.ms += round(ROW_SECONDS * 1000)
        assert await one.read() == []
        await one.sweep()


async def test_pods_that_are_asked_for_are_a_row_until_their_time_is_over(url: URL) -> None:
    clock = Clock()
    async with open_database(url, clock.now) as database:
        rows = DemandRows(database, "one")
        await rows.prewarm("draws", 2, 60)
        await rows.write({})
        assert [(row.variant, row.level, row.seconds_left) for row in await rows.read()] == [
            ("draws", Level(pods=2), 60)
        ]
        await rows.prewarm("draws", 3, 90)
        assert [row.level.pods for row in await rows.read()] == [3]
        clock.ms += 90_000
        assert await rows.read() == []
        await rows.prewarm("draws", 3, 90)
        await rows.prewarm("draws", 0, 0)
        assert await rows.read() == []


# ------------------------------------------------------------------------------------------------------- the replicas


@dataclass
class Replica:
    """One gateway's part of it."""

    demand: Demand
    in_flight: InFlight
    sharing: Sharing
    floors: dict[str, int] = field(default_factory=dict)


@asynccontextmanager
async def replicas(url: URL, count: int, dsn: URL | None = None) -> AsyncIterator[list[Replica]]:
    async with AsyncExitStack() as stack:
        found = []
        for number in range(count):
            database = await stack.enter_async_context(open_database(url))
            in_flight, floors = InFlight(), dict[str, int]()
            demand = Demand({Stage.TEXT_TO_IMAGE: Admission.alone(Order())}, in_flight)
            rows, listener = DemandRows(database, f"replica-{number}"), None if dsn is None else Listener(lambda: dsn)

            def floors_of(stated: dict[str, int] = floors) -> Mapping[str, int]:
                return stated

            sharing = Sharing(demand, rows, VARIANTS, floors_of, listener)
            await stack.enter_async_context(sharing.running())
            found.append(Replica(demand, in_flight, sharing, floors))
        yield found


def active(replica: Replica, stage: Stage) -> bool:
    return wanted(replica.sharing.board, stage.value, 8).active


async def until(replica: Replica, stage: Stage, expected: bool) -> None:
    while active(replica, stage) != expected:
        await replica.sharing.news(0.01)


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
async def test_a_request_at_one_replica_is_known_to_the_other_at_once(url: URL) -> None:
    async with replicas(url, 2, url) as (holds, holds_the_stream):
        await asyncio.sleep(0.05)
        began = asyncio.get_running_loop().time()
        with holds.demand.raised(Stage.SAFETY, Stage.CURATION):
            await until(holds_the_stream, Stage.CURATION, True)
            assert active(holds_the_stream, Stage.SAFETY), "the whole chain, at once"
            assert not active(holds_the_stream, Stage.ANIMATION)
        await until(holds_the_stream, Stage.CURATION, False)
    assert asyncio.get_running_loop().time() - began < 30


async def test_a_floor_is_wanted_without_work(url: URL, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bowerbird.gateway.demand.sharing.SHARE_SECONDS", 0.01)
    async with replicas(url, 1) as (only,):
        only.floors["safety"] = 2
        await until(only, Stage.SAFETY, True)
        assert wanted(await only.sharing.everything(), "safety", 8) == Wanted(True, 2)
        del only.floors["safety"]
        await until(only, Stage.SAFETY, False)


async def test_less_is_wanted_only_when_kubernetes_knows_which_pods_are_busy(
    url: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bowerbird.gateway.demand.sharing.SHARE_SECONDS", 0.01)

    async with replicas(url, 1) as (only,):

        async def running() -> int:
            return sum(row.level.running for row in await only.sharing.rows.read() if row.variant == "safety")

        async def until_running(count: int) -> None:
            while await running() != count:  # noqa: ASYNC110 - as KEDA polls
                await asyncio.sleep(0.005)

        for _ in range(3):
            only.in_flight.begin("safety", "http://a")
        await until_running(3)
        only.sharing.may_fall = lambda: False
        only.in_flight.end("safety", "http://a")
        await asyncio.sleep(0.1)
        assert await running() == 3
        only.in_flight.begin("safety", "http://a")
        only.in_flight.begin("safety", "http://a")
        await until_running(4)
        only.in_flight.end("safety", "http://a")
        only.sharing.may_fall = lambda: True
        await until_running(3)


def test_what_is_quickly_over_is_seen() -> None:
    in_flight = InFlight()
    demand = Demand({Stage.TEXT_TO_IMAGE: Admission()}, in_flight)
    for _ in range(3):
        in_flight.begin("safety", "http://a")
    for _ in range(3):
        in_flight.end("safety", "http://a")
    assert demand.take()[Stage.SAFETY] == Level(running=3)
    assert demand.take()[Stage.SAFETY] == Level()


def test_the_least_busy_endpoint_is_asked() -> None:
    in_flight, urls = InFlight(), ["http://a", "http://b", "http://c"]
    chosen = []
    for _ in range(6):
        url = in_flight.least_busy(urls)
        in_flight.begin("safety", url)
        chosen.append(url)
    assert chosen == urls * 2
    in_flight.end("safety", "http://b")
    assert in_flight.least_busy(urls) == "http://b"
    assert all(one != two for one, two in pairwise(chosen))
