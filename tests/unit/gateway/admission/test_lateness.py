"""A slot that comes too late to answer in time is computed for nobody, and is given to nobody."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest

from bowerbird.errors import QueueTimeout
from bowerbird.gateway.admission.admission import Admission
from bowerbird.gateway.admission.order import Order
from bowerbird.gateway.admission.ticket import Ticket

A = "http://a"


def ticket(name: str, finish_by: float = 1e12) -> Ticket:
    now = time.monotonic()
    return Ticket(name, "t", 1.0, now + 1e6, arrived=now, finish_by=finish_by)


@pytest.fixture
def admission() -> Admission:
    """No endpoint yet."""
    return Admission.alone(Order())


async def answer(admission: Admission, after_seconds: float) -> None:
    """A request whose slot is free at once, and whose answer takes so long beyond it."""
    async with admission.place(ticket("it")) as turn:
        await turn.grant()
        turn.finished()
        await asyncio.sleep(after_seconds)


async def test_nobody_waits_for_a_slot_that_comes_too_late_to_finish_in_time(admission: Admission) -> None:
    """A request takes 20 s here and is wanted in 10: with a free slot it may be lucky, behind another it is not."""
    admission.seen_ready(A, 1, 20.0)
    wanted_soon = ticket("1", finish_by=time.monotonic() + 10.0)
    async with admission.place(wanted_soon) as holding:
        await holding.grant()
        async with asyncio.timeout(60):
            with pytest.raises(QueueTimeout):
                async with admission.place(replace(wanted_soon, id="2")) as turn:
                    await turn.grant()


async def test_what_comes_after_the_slot_is_reckoned_with(admission: Admission) -> None:
    admission.seen_ready(A, 1, 0.02)
    computing = 0.02
    before = admission.latest_start(ticket("1", finish_by=1000.0))
    assert before == pytest.approx(1000 - computing)
    for _ in range(20):
        await answer(admission, computing + 0.01)
    assert 1000 - 2 * computing <= admission.latest_start(ticket("1", finish_by=1000.0)) < before - 0.005


async def test_one_answer_that_took_for_ever_does_not_refuse_everybody(admission: Admission) -> None:
    admission.seen_ready(A, 1, 0.001)
    for _ in range(5):
        await answer(admission, 0.1)
    assert admission.latest_start(ticket("1", finish_by=1000.0)) == pytest.approx(1000 - 2 * 0.001)


async def test_who_gets_no_answer_says_nothing_of_how_long_one_takes(admission: Admission) -> None:
    admission.seen_ready(A, 1, 0.001)

    async def given_up() -> None:
        async with admission.place(ticket("1")) as turn:
            await turn.grant()
            await asyncio.sleep(0.05)
            raise TimeoutError

    with pytest.raises(TimeoutError):
        await given_up()
    assert admission.latest_start(ticket("1", finish_by=1000.0)) == pytest.approx(1000 - 0.001)
