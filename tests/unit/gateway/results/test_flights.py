"""Single-flight: who draws, who waits, and what becomes of the others when one of them leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bowerbird.errors import DeadlineExceeded, ImageRefused, StageBroken
from bowerbird.gateway.results.flights import Flights, Landed

FINAL = (ImageRefused,)


@dataclass
class Workshop:
    """Work that ends when a test says so, for one key."""

    flights: Flights[str] = field(default_factory=Flights)
    at_work: dict[int, asyncio.Future[str]] = field(default_factory=dict)
    begun: list[int] = field(default_factory=list)

    def work_of(self, caller: int) -> Callable[[], Awaitable[str]]:
        async def work() -> str:
            self.begun.append(caller)
            self.at_work[caller] = asyncio.get_running_loop().create_future()
            try:
                return await self.at_work[caller]
            finally:
                del self.at_work[caller]

        return work

    async def ask(self, caller: int, key: str = "key") -> asyncio.Task[Landed[str]]:
        task = asyncio.create_task(self.flights.once(key, self.work_of(caller), FINAL))
        await settle()
        return task


async def settle() -> None:
    """Lets every task go on until it waits again."""
    for _ in range(6):
        await asyncio.sleep(0)


@pytest.fixture
def workshop() -> Workshop:
    return Workshop()


async def test_identical_requests_are_drawn_once(workshop: Workshop) -> None:
    asked = [await workshop.ask(caller) for caller in range(5)]
    workshop.at_work[0].set_result("robin")

    landed = await asyncio.gather(*asked)
    assert [each.value for each in landed] == ["robin"] * 5
    assert [each.led for each in landed] == [True, False, False, False, False]
    assert workshop.begun == [0]
    assert len(workshop.flights) == 0


async def test_different_requests_do_not_wait_for_each_other(workshop: Workshop) -> None:
    await workshop.ask(0, "robin")
    jay = await workshop.ask(1, "jay")
    workshop.at_work[1].set_result("jay")

    assert (await jay).value == "jay"
    assert workshop.begun == [0, 1]
    workshop.at_work[0].set_result("robin")
    await settle()


async def test_a_follower_that_hangs_up_cancels_nobody(workshop: Workshop) -> None:
    leader, follower, other = [await workshop.ask(caller) for caller in range(3)]
    follower.cancel()
    await settle()
    workshop.at_work[0].set_result("robin")

    assert (await leader).value == (await other).value == "robin"
    assert follower.cancelled()


async def test_a_leader_that_hangs_up_hands_over_to_who_waits_longest(workshop: Workshop) -> None:
    leader, second, third = [await workshop.ask(caller) for caller in range(3)]
    leader.cancel()
    await settle()
    assert workshop.begun == [0, 1]

    workshop.at_work[1].set_result("robin")
    assert await second == Landed("robin", led=True)
    assert await third == Landed("robin", led=False)


@pytest.mark.parametrize("failure", [StageBroken("a stage broke"), DeadlineExceeded("too late"), OSError("disk")])
async def test_a_leader_that_fails_fails_alone(workshop: Workshop, failure: Exception) -> None:
    leader, second, third = [await workshop.ask(caller) for caller in range(3)]
    workshop.at_work[0].set_exception(failure)
    await settle()
    with pytest.raises(type(failure)):
        await leader

    workshop.at_work[1].set_result("robin")
    assert (await second).value == (await third).value == "robin"
    assert workshop.begun == [0, 1]


async def test_a_refusal_that_holds_for_every_such_request_is_told_to_all(workshop: Workshop) -> None:
    asked = [await workshop.ask(caller) for caller in range(3)]
    workshop.at_work[0].set_exception(ImageRefused("no candidate", details={"decision": "dec_1"}))

    refusals = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(each) for each in refusals] == [ImageRefused] * 3
    assert all(isinstance(each, ImageRefused) and each.details == {"decision": "dec_1"} for each in refusals)
    assert len({id(each) for each in refusals}) == 3
    assert workshop.begun == [0]


async def test_a_follower_that_hangs_up_as_it_is_told_to_lead_hands_on(workshop: Workshop) -> None:
    leader, second, third = [await workshop.ask(caller) for caller in range(3)]
    workshop.at_work[0].set_exception(StageBroken("a stage broke"))
    await asyncio.sleep(0)  # the leader has failed and told the second, which has not run yet
    second.cancel()
    await settle()
    assert workshop.begun == [0, 2]

    workshop.at_work[2].set_result("robin")
    assert (await third).value == "robin"
    assert second.cancelled()
    with pytest.raises(StageBroken):
        await leader


@pytest.mark.parametrize("ticks", [0, 1])
@pytest.mark.parametrize("end", ["result", "failure", "refusal"])
async def test_a_follower_may_hang_up_while_it_is_being_told(workshop: Workshop, end: str, ticks: int) -> None:
    _, second, third = [await workshop.ask(caller) for caller in range(3)]
    ends = {"failure": StageBroken("a stage broke"), "refusal": ImageRefused("no candidate")}
    if end == "result":
        workshop.at_work[0].set_result("robin")
    else:
        workshop.at_work[0].set_exception(ends[end])
    for _ in range(ticks):
        await asyncio.sleep(0)
    second.cancel()
    await settle()
    for work in workshop.at_work.values():
        work.set_result("robin")

    others = await asyncio.gather(third, return_exceptions=True)
    assert second.cancelled()
    assert isinstance(others[0], ImageRefused if end == "refusal" else Landed)
    assert len(workshop.flights) == 0


async def test_who_finds_too_many_waiting_goes_its_own_way(workshop: Workshop) -> None:
    workshop.flights = Flights(max_followers=2)
    asked = [await workshop.ask(caller) for caller in range(4)]
    assert workshop.begun == [0, 3]

    asked[1].cancel()
    await settle()
    asked.append(await workshop.ask(4))
    assert workshop.begun == [0, 3]
    workshop.at_work[3].set_exception(StageBroken("a stage broke"))
    workshop.at_work[0].set_result("robin")
    ends = await asyncio.gather(*asked, return_exceptions=True)
    assert isinstance(ends[3], StageBroken)
    assert all(isinstance(ends[caller], Landed) for caller in (0, 2, 4))


async def test_who_comes_after_the_end_begins_anew(workshop: Workshop) -> None:
    first = await workshop.ask(0)
    workshop.at_work[0].set_result("robin")
    await first
    second = await workshop.ask(1)
    workshop.at_work[1].set_result("jay")

    assert (await second).value == "jay"


class Play:
    """Requests for one key that come, hang up, finish, fail and are refused in any order."""

    def __init__(self) -> None:
        self.workshop = Workshop()
        self.asked: list[asyncio.Task[Landed[str]]] = []
        self.hung_up: set[int] = set()
        self.failed: set[int] = set()

    def ask(self, _: int) -> None:
        caller = len(self.asked)
        self.asked.append(asyncio.create_task(self.workshop.flights.once("key", self.workshop.work_of(caller), FINAL)))

    def hang_up(self, number: int) -> None:
        here = [caller for caller, task in enumerate(self.asked) if not task.done()]
        if here:
            caller = here[number % len(here)]
            self.hung_up.add(caller)
            self.asked[caller].cancel()

    def finish(self, _: int) -> None:
        for caller, end in self.ends():
            end.set_result(f"by {caller}")

    def fail(self, _: int) -> None:
        for caller, end in self.ends():
            self.failed.add(caller)
            end.set_exception(StageBroken("a stage broke"))

    def refuse(self, _: int) -> None:
        for _caller, end in self.ends():
            end.set_exception(ImageRefused("no candidate"))

    def ends(self) -> list[tuple[int, asyncio.Future[str]]]:
        assert len(self.workshop.at_work) <= 1
        return [(caller, end) for caller, end in self.workshop.at_work.items() if not end.done()]

    async def end(self) -> list[Landed[str] | BaseException]:
        for _ in self.asked:
            await settle()
            self.finish(0)
        async with asyncio.timeout(60):
            return await asyncio.gather(*self.asked, return_exceptions=True)


async def play(actions: list[tuple[str, int, int]]) -> None:
    game = Play()
    for _ in range(3):
        game.ask(0)
        await settle()
    for action, number, ticks in actions:
        getattr(game, action)(number)
        for _ in range(ticks):
            await asyncio.sleep(0)
    ends = await game.end()
    assert {caller for caller, end in enumerate(ends) if isinstance(end, StageBroken)} <= game.failed
    assert {caller for caller, end in enumerate(ends) if isinstance(end, asyncio.CancelledError)} <= game.hung_up
    assert all(isinstance(end, Landed | ImageRefused | StageBroken | asyncio.CancelledError) for end in ends)
    assert len(game.workshop.flights) == 0


@settings(max_examples=150)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["ask", "hang_up", "finish", "fail", "refuse"]), st.integers(0, 30), st.integers(0, 2)
        ),
        max_size=60,
    )
)
def test_in_any_order_one_works_and_everybody_gets_an_end_of_their_own(actions: list[tuple[str, int, int]]) -> None:
    asyncio.run(play(actions))
