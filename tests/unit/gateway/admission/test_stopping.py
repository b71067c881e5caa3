"""A gateway that was told to end: whoever can still be drawn is, and who cannot is sent elsewhere in time."""

from __future__ import annotations

import asyncio
import time

import pytest

from bowerbird.errors import GatewayStopping
from bowerbird.gateway.admission.admission import LAST_WORDS_SECONDS, Admission
from bowerbird.gateway.admission.ticket import PutBack

from .waiting import A, draw, drawing_and_waiting, ticket, until_waiting


async def test_who_waits_in_a_process_that_stops_has_its_turn(admission: Admission) -> None:
    drawn: list[str] = []
    hold = asyncio.Event()
    drawing, waiting = await drawing_and_waiting(admission, drawn, hold)
    admission.stop(60)
    late = asyncio.create_task(draw(admission, "3", drawn))  # its request had come before, and was checked till now
    await until_waiting(admission, 2)
    hold.set()
    await asyncio.gather(drawing, waiting, late)
    assert drawn == ["1", "2", "3"]


async def test_who_waits_is_sent_elsewhere_before_the_process_ends_and_who_draws_is_not(admission: Admission) -> None:
    drawn: list[str] = []
    hold = asyncio.Event()
    drawing, waiting = await drawing_and_waiting(admission, drawn, hold)
    ends_at = time.monotonic() + LAST_WORDS_SECONDS + 0.2
    admission.stop(ends_at - time.monotonic())
    with pytest.raises(GatewayStopping) as refused:
        await waiting
    assert ends_at - LAST_WORDS_SECONDS <= time.monotonic() < ends_at
    assert (refused.value.retry_after_seconds or 0) >= 1
    with pytest.raises(GatewayStopping):
        await draw(admission, "3", drawn)
    hold.set()
    await drawing
    assert drawn == ["1"]
    assert admission.waiting == admission.holding == 0


async def test_who_comes_too_late_to_be_drawn_in_time_is_told_so_although_a_slot_is_free(admission: Admission) -> None:
    admission.seen_ready(A, 1, 10.0)  # seconds for a ticket's one unit
    admission.stop(LAST_WORDS_SECONDS + 5)
    with pytest.raises(GatewayStopping):
        await draw(admission, "1", [])
    assert admission.waiting == admission.holding == 0


async def test_who_loses_its_slot_when_no_time_is_left_is_sent_elsewhere(admission: Admission) -> None:
    admission.seen_ready(A, 1, None)
    async with admission.place(ticket("1")) as turn:
        await turn.grant()
        admission.stop(0)
        turn.put_back(PutBack.FULL, pause_seconds=0.0)
        with pytest.raises(GatewayStopping):
            await turn.grant()


async def test_who_waits_for_a_stage_is_refused_as_soon_as_it_is(admission: Admission) -> None:
    async with admission.place(ticket("1")) as turn:
        asyncio.get_running_loop().call_soon(admission.stop, 0)
        with pytest.raises(GatewayStopping):
            await turn.unless_refused(asyncio.sleep(3600))


async def test_a_slot_that_comes_while_a_stage_is_waited_for_does_not_end_that_wait(admission: Admission) -> None:
    waited: list[str] = []

    async def stage() -> None:
        await asyncio.sleep(0.02)
        waited.append("stage")

    async with admission.place(ticket("1")) as turn:
        asyncio.get_running_loop().call_soon(admission.seen_ready, A, 1, None)
        await turn.unless_refused(stage())
        assert waited == ["stage"]
        assert (await turn.grant()).endpoint == A
