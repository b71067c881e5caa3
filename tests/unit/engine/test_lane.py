"""A lane computes for who waits, and for nobody else."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Generator, Iterator
from itertools import count

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from bowerbird.deadline import Deadline
from bowerbird.engine.lane import Job, Lane
from bowerbird.engine.metrics import WASTED_STEPS
from bowerbird.errors import DeadlineExceeded, StageUnavailable

Numbers = Generator[int, None, None]


@pytest.fixture
def lane() -> Iterator[Lane]:
    lane = Lane(slots=2)
    yield lane
    lane.close()


class Steps:
    """Work that computes a step when it is allowed to, and tells when it does and when it was closed."""

    def __init__(self) -> None:
        self.allowed = threading.Semaphore(0)
        self.computed = 0
        self.closed = threading.Event()

    def __call__(self) -> Numbers:
        try:
            for number in count():
                assert self.allowed.acquire(timeout=10)
                self.computed += 1
                yield number
        finally:
            self.closed.set()


def three() -> Numbers:
    yield from range(3)


async def all_of(job: Job[int]) -> list[int]:
    return [each async for each in job.items()]


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110 - a lane has no event for tests
            await asyncio.sleep(0.002)


async def until_free(lane: Lane, slots: int) -> None:
    await until(lambda: lane.free_slots == slots)


async def test_items_arrive_in_their_order(lane: Lane) -> None:
    assert await all_of(lane.submit(three, Deadline.after(10))) == [0, 1, 2]
    assert lane.free_slots == 2


async def test_a_full_lane_refuses_at_once_and_says_when_to_come_back(lane: Lane) -> None:
    steps = Steps()
    first, waiting = lane.submit(steps, Deadline.after(10)), lane.submit(three, Deadline.after(10))
    with pytest.raises(StageUnavailable, match="All 2 slots are taken") as refused:
        lane.submit(three, Deadline.after(10))
    assert refused.value.retry_after_seconds == 1
    first.cancel()
    steps.allowed.release()
    assert await all_of(waiting) == [0, 1, 2]


async def test_a_cancelled_job_stops_after_the_item_it_is_in_and_only_then_frees_its_slot(lane: Lane) -> None:
    steps, wasted = Steps(), WASTED_STEPS._value.get()
    job = lane.submit(steps, Deadline.after(10))
    steps.allowed.release()
    items = job.items()
    assert await anext(items) == 0
    await items.aclose()  # type: ignore[attr-defined]
    await asyncio.sleep(0.02)
    assert lane.free_slots == 1
    steps.allowed.release(5)
    await until_free(lane, 2)
    assert steps.computed == 2
    assert steps.closed.is_set()
    assert WASTED_STEPS._value.get() - wasted == 1


async def test_a_job_cancelled_while_it_waits_is_never_computed(lane: Lane) -> None:
    steps, other = Steps(), Steps()
    first, waiting = lane.submit(steps, Deadline.after(10)), lane.submit(other, Deadline.after(10))
    waiting.cancel()
    first.cancel()
    steps.allowed.release()
    await until_free(lane, 2)
    assert other.computed == 0


async def test_a_deadline_is_told_the_moment_it_passes_and_stops_the_work(lane: Lane) -> None:
    steps = Steps()
    job = lane.submit(steps, Deadline.after(0.05))
    steps.allowed.release()
    with pytest.raises(DeadlineExceeded):
        await all_of(job)
    steps.allowed.release(5)
    await until_free(lane, 2)
    assert steps.computed == 2


async def test_a_job_whose_deadline_passed_in_the_queue_ends_with_that_error(lane: Lane) -> None:
    steps = Steps()
    first, late = lane.submit(steps, Deadline.after(10)), lane.submit(three, Deadline.after(0.001))
    await asyncio.sleep(0.01)
    first.cancel()
    steps.allowed.release()
    await until_free(lane, 2)
    with pytest.raises(DeadlineExceeded):
        await all_of(late)


async def test_a_failure_belongs_to_its_job_and_the_next_one_runs(lane: Lane) -> None:
    def failing() -> Numbers:
        yield 1
        raise FloatingPointError("an overflow")

    job = lane.submit(failing, Deadline.after(10))
    items = job.items()
    assert await anext(items) == 1
    with pytest.raises(FloatingPointError):
        await anext(items)
    assert await all_of(lane.submit(three, Deadline.after(10))) == [0, 1, 2]


async def test_work_runs_in_the_trace_of_who_submitted_it(lane: Lane) -> None:
    def here() -> Numbers:
        yield trace.get_current_span().get_span_context().span_id

    with TracerProvider().get_tracer("test").start_as_current_span("request") as span:
        job = lane.submit(here, Deadline.after(10))
    assert await all_of(job) == [span.get_span_context().span_id]


async def test_a_closed_lane_has_stopped_computing() -> None:
    lane, steps = Lane(slots=1), Steps()
    job = lane.submit(steps, Deadline.after(10))
    steps.allowed.release()
    await until(lambda: steps.computed == 1)
    closing = asyncio.create_task(asyncio.to_thread(lane.close))
    await until(lambda: job.abandoned)
    assert not closing.done()
    steps.allowed.release(3)
    await closing
    assert steps.closed.is_set()
    assert steps.computed == 2
