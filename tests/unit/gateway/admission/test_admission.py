"""The order for asyncio: however a wait or a drawing ends, nobody is forgotten and no slot is kept."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bowerbird.errors import QueueFull, QueueTimeout
from bowerbird.gateway.admission.admission import Admission
from bowerbird.gateway.admission.bounds import Bounds
from bowerbird.gateway.admission.order import Order
from bowerbird.gateway.admission.owner import Owner
from bowerbird.gateway.admission.ticket import Place, PutBack

from .waiting import A, B, draw, ticket, until_waiting


async def test_a_slot_is_granted_at_once_where_one_is_free_and_in_turn_where_none_is(admission: Admission) -> None:
    admission.seen_ready(A, 1, None)
    drawn: list[str] = []
    hold = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(draw(admission, "1", drawn, hold))
        for name in ("2", "3", "4"):
            tasks.create_task(draw(admission, name, drawn))
        await until_waiting(admission, 3)
        assert drawn == []
        hold.set()

    assert drawn == ["1", "2", "3", "4"]
    assert admission.waiting == admission.holding == 0


async def test_the_first_is_who_waits_or_draws_alone(admission: Admission) -> None:
    admission.seen_ready(A, 1, None)
    async with admission.place(ticket("1")) as first:
        assert admission.is_first
        await first.grant()
        assert admission.is_first
        async with admission.place(ticket("2")):
            assert not admission.is_first
            first.finished()
            assert admission.is_first, "who has drawn wants nothing more of it"
    assert not admission.is_first


async def test_who_is_cancelled_while_waiting_waits_no_more(admission: Admission) -> None:
    admission.seen_ready(A, 1, None)
    drawn: list[str] = []
    hold = asyncio.Event()
    first, second, third = (
        asyncio.create_task(draw(admission, name, drawn, hold if name == "1" else None)) for name in "123"
    )
    await until_waiting(admission, 2)
    second.cancel()
    await asyncio.wait({second})
    assert admission.waiting == 1
    hold.set()
    await asyncio.gather(first, third)

    assert drawn == ["1", "3"]


async def test_who_is_cancelled_while_drawing_frees_the_slot(admission: Admission) -> None:
    admission.seen_ready(A, 1, None)
    drawn: list[str] = []
    first = asyncio.create_task(draw(admission, "1", drawn, asyncio.Event()))
    second = asyncio.create_task(draw(admission, "2", drawn))
    await until_waiting(admission, 1)
    first.cancel()
    await second

    assert drawn == ["2"]
    assert admission.holding == 0


async def test_a_grant_that_meets_a_cancelled_waiter_is_not_lost(admission: Admission) -> None:
    """The slot is granted and the task cancelled in the same turn of the loop."""
    admission.seen_ready(A, 1, None)
    drawn: list[str] = []
    hold = asyncio.Event()
    first, second, third = (
        asyncio.create_task(draw(admission, name, drawn, hold if name == "1" else None)) for name in "123"
    )
    await until_waiting(admission, 2)
    hold.set()
    second.cancel()
    await asyncio.wait({first, second, third})

    assert second.cancelled()
    assert drawn == ["1", "3"]
    assert admission.waiting == admission.holding == 0


async def test_the_wait_has_an_end_that_says_when_to_come_back(admission: Admission) -> None:
    admission.seen_ready(A, 1, 20.0)
    async with admission.place(ticket("1")) as holding:
        await holding.grant()
        with pytest.raises(QueueTimeout) as late:
            async with admission.place(ticket("2", seconds=0.02)) as turn:
                await turn.grant()
        assert late.value.retry_after_seconds == 20
        assert admission.waiting == 0
        assert admission.holding == 1


async def test_who_would_not_wait_gets_the_slot_that_is_free(admission: Admission) -> None:
    admission.seen_ready(A, 1, None)
    async with admission.place(ticket("1", seconds=-1.0)) as turn:
        assert (await turn.grant()).endpoint == A


async def test_capacity_that_comes_later_is_waited_for(admission: Admission) -> None:
    drawn: list[str] = []
    waiting = asyncio.create_task(draw(admission, "1", drawn))
    await until_waiting(admission, 1)
    admission.seen_ready(A, 1, None)
    await waiting

    assert drawn == ["1"]


async def test_who_is_put_back_by_a_full_endpoint_is_served_before_the_others(admission: Admission) -> None:
    admission.seen_ready(A, 1, None)
    drawn: list[str] = []
    async with admission.place(ticket("1")) as turn:
        first = await turn.grant()
        second = asyncio.create_task(draw(admission, "2", drawn))
        await until_waiting(admission, 1)
        turn.put_back(PutBack.FULL, pause_seconds=0.02)
        assert admission.waiting == 2
        again = await turn.grant()
        assert again.number > first.number
        assert drawn == []
        turn.finished()
        await second

    assert drawn == ["2"]


async def test_who_was_on_a_dead_endpoint_goes_to_another(admission: Admission) -> None:
    admission.seen_ready(A, 1, None)
    admission.seen_ready(B, 1, None)
    async with admission.place(ticket("1")) as turn:
        first = await turn.grant()
        turn.put_back(PutBack.LOST)
        assert turn.waits_again
        second = await turn.grant()
        assert not turn.waits_again
        assert turn.losses == 1

    assert {first.endpoint, second.endpoint} == {A, B}


async def test_who_was_drawn_for_longer_than_it_may_wait_may_still_wait_when_its_endpoint_dies(
    admission: Admission,
) -> None:
    admission.seen_ready(A, 1, None)
    async with admission.place(ticket("1", seconds=0.2)) as turn:
        await turn.grant()
        await asyncio.sleep(0.25)
        turn.put_back(PutBack.LOST)
        asyncio.get_running_loop().call_later(0.02, admission.seen_ready, B, 1, None)
        assert (await turn.grant()).endpoint == B


async def test_dead_endpoint_is_asked_again_when_a_look_finds_it_ready(admission: Admission) -> None:
    admission.seen_ready(A, 2, None)
    async with admission.place(ticket("1")) as turn:
        await turn.grant()
        turn.put_back(PutBack.LOST)
        admission.seen_ready(A, 2, None)
        assert admission.waiting == 1, "its pause is not over"
        await asyncio.sleep(0.02)
        admission.seen_ready(A, 2, None)
        assert (await turn.grant()).endpoint == A


async def test_who_waits_is_told_its_place_until_it_has_a_slot(admission: Admission) -> None:
    admission.seen_ready(A, 1, 2.0)
    told: list[Place] = []
    async with admission.place(ticket("1")) as first:
        await first.grant()

        async def second() -> None:
            async with admission.place(ticket("2"), told.append) as turn:
                await turn.grant()

        waiting = asyncio.create_task(second())
        async with asyncio.timeout(60):
            while len(told) < 3:  # noqa: ASYNC110 - it tells a list
                await asyncio.sleep(0.001)
        first.finished()
        await waiting

    assert all(place.position == 1 for place in told)
    etas = [place.eta_seconds or 0.0 for place in told]
    assert etas[0] == pytest.approx(2.0, abs=0.2)
    assert etas[0] > etas[-1]


async def test_a_refused_ticket_leaves_no_trace() -> None:
    admission = Admission.alone(Order(Bounds(requests=1, tenant_part=1.0)))
    async with admission.place(ticket("1")):
        with pytest.raises(QueueFull):
            async with admission.place(ticket("2")):
                raise AssertionError("it has a place")
        assert admission.waiting == 1
    assert admission.waiting == 0


# ------------------------------------------------------------------------------------------------ another keeper


async def test_nothing_is_granted_while_nobody_keeps_the_order_and_nobody_is_forgotten() -> None:
    admission = Admission(Bounds(requests=2, tenant_part=1.0))
    admission.seen_ready(A, 2, None)
    async with admission.place(ticket("1")) as first, admission.place(ticket("2")) as second:
        assert await admission.forecast(second.ticket) == Place(2, None)
        assert admission.left("t").requests == 0
        with pytest.raises(QueueFull):
            async with admission.place(ticket("3")):
                raise AssertionError("it has a place")
        assert admission.waiting == 2
        admission.keep(Owner(Order(epoch=3)))
        assert [(await turn.grant()).epoch for turn in (first, second)] == [3, 3]


async def test_who_draws_when_the_owner_changes_keeps_its_slot_by_the_new_ones_word(admission: Admission) -> None:
    admission.seen_ready(A, 1, None)
    async with admission.place(ticket("1")) as turn, admission.place(ticket("2")) as next_one:
        before = await turn.grant()
        admission.lose()
        owner = Owner(Order(epoch=1))
        admission.keep(owner)
        assert turn.held
        assert (before.epoch, turn.held.epoch, turn.held.endpoint) == (0, 1, A)
        assert next_one.held is None
        assert (owner.order.waiting, owner.order.holding) == (1, 1)
        turn.finished()
        assert (await next_one.grant()).endpoint == A


async def test_who_finishes_while_nobody_keeps_the_order_is_not_announced(admission: Admission) -> None:
    admission.seen_ready(A, 1, None)
    async with admission.place(ticket("1")) as turn:
        await turn.grant()
        admission.lose()
        turn.finished()
        owner = Owner(Order(epoch=1))
        admission.keep(owner)
        assert owner.order.holding == 0


async def test_who_is_put_back_while_nobody_keeps_the_order_is_next_under_the_new_owner(admission: Admission) -> None:
    admission.seen_ready(A, 1, None)
    async with admission.place(ticket("1")) as early, admission.place(ticket("2")) as late:
        await early.grant()
        admission.lose()
        early.put_back(PutBack.LOST)
        admission.keep(Owner(Order(epoch=1)))
        await early.grant()
        assert late.held is None


async def test_an_owner_asks_at_each_single_grant_whether_it_may(admission: Admission) -> None:
    rights = iter([True, False])
    owner = Owner(Order(epoch=1), lambda: next(rights, False))
    async with admission.place(ticket("1")) as first, admission.place(ticket("2")) as second:
        admission.lose()
        admission.seen_ready(A, 2, None)
        rights = iter([])
        admission.keep(owner)
        assert first.held is second.held is None
        rights = iter([True, False])
        owner.dispatch()
        assert first.held is not None
        assert second.held is None


@settings(max_examples=25)
@given(
    requests=st.lists(
        st.tuples(st.sampled_from("abc"), st.floats(0, 0.004), st.none() | st.floats(0, 0.004)), max_size=20
    ),
    slots=st.integers(1, 3),
)
def test_whoever_is_cancelled_whenever_all_others_are_drawn_and_every_slot_is_free_in_the_end(
    requests: list[tuple[str, float, float | None]], slots: int
) -> None:
    async def one(admission: Admission, number: int, drawn: set[int]) -> None:
        tenant, seconds, _ = requests[number]
        async with admission.place(ticket(str(number), tenant=tenant)) as turn:
            await turn.grant()
            assert admission.holding <= slots
            await asyncio.sleep(seconds)
            turn.finished()
            drawn.add(number)

    async def all_of_them() -> None:
        admission, drawn = Admission.alone(Order()), set[int]()
        admission.seen_ready(A, slots, None)
        tasks = [asyncio.create_task(one(admission, number, drawn)) for number in range(len(requests))]
        for task, (_, _, patience) in zip(tasks, requests, strict=True):
            if patience is not None:
                asyncio.get_running_loop().call_later(patience, task.cancel)
        await asyncio.gather(*tasks, return_exceptions=True)
        assert drawn == {number for number, task in enumerate(tasks) if not task.cancelled()}
        assert admission.waiting == admission.holding == 0

    asyncio.run(all_of_them())
