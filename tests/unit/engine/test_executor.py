"""The computing thread computes for who waits, for nobody else, and survives whatever a request does to it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from bowerbird.contracts import DrawRequest, WorkClass
from bowerbird.engine.backend import DeviceLost
from bowerbird.engine.bundle import Bundle
from bowerbird.engine.drawing import Engine, Event, Frame, PreviewFrame, Step, Summary
from bowerbird.engine.executor import Executor
from bowerbird.engine.job import Job
from bowerbird.engine.metrics import STEPS, WASTED_STEPS
from bowerbird.engine.scheduling.work import Bucket, Claim, Stage
from bowerbird.errors import DeadlineExceeded, StageFull, StageUnavailable

from .gated_backend import GatedBackend

Make = Callable[..., DrawRequest]


@pytest.fixture
def backend() -> GatedBackend:
    return GatedBackend()


@pytest.fixture
def gated(bundle: Bundle, backend: GatedBackend) -> Iterator[Executor]:
    executor = Executor(Engine(bundle, backend), slots=3)
    yield executor
    backend.gate_open = True
    backend.allowed.release(100)
    executor.close()


@pytest.fixture
def submit(gated: Executor, request_of: Make) -> Callable[..., Job]:
    """Submits a request with whatever is different, in a claim with whatever is different."""

    def make(claim: Claim | None = None, **different: object) -> Job:
        claim = claim or Claim(time.monotonic() + 20)
        return gated.submit(gated.engine.order(request_of(**different)), claim)

    return make


async def all_of(job: Job) -> list[Event]:
    return [each async for each in job.items()]


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not true():  # noqa: ASYNC110 - the thread has no event for tests
            await asyncio.sleep(0.002)


async def test_events_arrive_in_their_order_and_the_slot_is_free(
    gated: Executor, backend: GatedBackend, submit: Callable[..., Job]
) -> None:
    backend.allowed.release(6)
    events = await all_of(submit(steps=3))
    assert [type(event) for event in events] == [Step, Step, Step, Frame, Summary]
    assert gated.free_slots == gated.slots


async def test_a_full_executor_refuses_at_once_and_says_by_its_costs_when_to_come_back(
    gated: Executor, submit: Callable[..., Job]
) -> None:
    gated.engine.costs.observe(Stage.STEP, Bucket((4, 8, 8)), 4, 4.0)
    jobs = [submit(steps=8) for _ in range(3)]
    with pytest.raises(StageFull, match="All 3 slots are taken") as refused:
        submit()
    assert refused.value.retry_after_seconds == 16  # 8 steps of half a batch each
    for job in jobs:
        job.cancel()


async def test_two_requests_at_different_steps_share_denoiser_calls(
    backend: GatedBackend, submit: Callable[..., Job]
) -> None:
    first = submit(steps=4)
    backend.allowed.release(1)
    await until(lambda: len(backend.begun) == 2)
    second = submit(steps=4, seed=8)
    backend.allowed.release(20)
    await asyncio.gather(all_of(first), all_of(second))
    assert backend.begun == [2, 2, 4, 4, 2, 2]


async def test_a_cancelled_job_wastes_at_most_the_step_it_is_in_and_only_then_frees_its_slot(
    gated: Executor, backend: GatedBackend, submit: Callable[..., Job]
) -> None:
    wasted = WASTED_STEPS._value.get()
    items = submit(steps=8).items()
    backend.allowed.release(1)
    assert isinstance(await anext(items), Step)
    await until(lambda: len(backend.begun) == 2)
    await items.aclose()
    await asyncio.sleep(0.02)
    assert gated.free_slots == 2
    backend.allowed.release(5)
    await until(lambda: gated.free_slots == 3)
    assert backend.begun == [2, 2]
    assert WASTED_STEPS._value.get() - wasted == 1


async def test_a_cancel_interrupts_the_step_that_is_computed_for_nobody_else(
    gated: Executor, backend: GatedBackend, submit: Callable[..., Job]
) -> None:
    backend.interruptible = True
    steps, wasted = STEPS._value.get(), WASTED_STEPS._value.get()
    items = submit(steps=8).items()
    backend.allowed.release(1)
    assert isinstance(await anext(items), Step)
    await until(lambda: len(backend.begun) == 2)
    await items.aclose()
    await until(lambda: gated.free_slots == 3)  # and nothing was released for it
    assert STEPS._value.get() - steps == 1
    assert WASTED_STEPS._value.get() == wasted
    backend.allowed.release(2)
    assert isinstance((await all_of(submit(steps=2)))[-1], Summary)


async def test_a_cancel_does_not_interrupt_a_step_that_somebody_shares(
    gated: Executor, backend: GatedBackend, submit: Callable[..., Job]
) -> None:
    backend.interruptible = True
    first, second = submit(steps=3), submit(steps=3, seed=8)
    backend.allowed.release(2)
    await until(lambda: len(backend.begun) == 3 and backend.begun[-1] == 4)
    first.cancel()
    await asyncio.sleep(0.02)
    assert len(backend.begun) == 3
    backend.allowed.release(3)
    assert isinstance((await all_of(second))[-1], Summary)


async def test_a_deadline_that_passes_interrupts_too(
    gated: Executor, backend: GatedBackend, submit: Callable[..., Job]
) -> None:
    backend.interruptible = True
    with pytest.raises(DeadlineExceeded, match="passed"):
        await all_of(submit(Claim(time.monotonic() + 0.05), steps=8))
    await until(lambda: gated.free_slots == 3)
    assert backend.begun == [2]


async def test_a_job_cancelled_while_it_waits_is_never_computed(
    gated: Executor, backend: GatedBackend, submit: Callable[..., Job]
) -> None:
    first = submit(steps=2)
    await until(lambda: len(backend.begun) == 1)
    submit(steps=2, guidance_scale=1).cancel()
    backend.allowed.release(5)
    await all_of(first)
    await until(lambda: gated.free_slots == 3)
    assert backend.begun == [2, 2]


async def test_a_deadline_is_told_the_moment_it_passes_and_stops_the_work(
    gated: Executor, backend: GatedBackend, submit: Callable[..., Job]
) -> None:
    job = submit(Claim(time.monotonic() + 0.05), steps=8)
    with pytest.raises(DeadlineExceeded, match="passed"):
        await all_of(job)
    assert backend.begun == [2]  # and the thread is still in it
    backend.allowed.release(5)
    await until(lambda: gated.free_slots == 3)
    assert backend.begun == [2]


async def test_what_cannot_be_finished_in_time_is_refused_before_anything_is_computed(
    gated: Executor, backend: GatedBackend, submit: Callable[..., Job]
) -> None:
    gated.engine.costs.observe(Stage.STEP, Bucket((4, 8, 8)), 4, 100.0)
    with pytest.raises(DeadlineExceeded, match=r"takes about 400\.0 s"):
        submit(Claim(time.monotonic() + 60), steps=8)
    assert gated.free_slots == 3
    assert backend.begun == []


async def test_what_turns_out_to_be_late_is_given_up_early(
    gated: Executor, backend: GatedBackend, submit: Callable[..., Job]
) -> None:
    job = submit(Claim(time.monotonic() + 60), steps=8)
    await until(lambda: len(backend.begun) == 1)
    gated.engine.costs.observe(Stage.STEP, Bucket((4, 8, 8)), 2, 1000.0)
    backend.allowed.release(5)
    with pytest.raises(DeadlineExceeded, match="later than the deadline"):
        await all_of(job)
    assert backend.begun == [2]


async def test_batch_class_waits_while_interactive_work_is_here(
    backend: GatedBackend, submit: Callable[..., Job]
) -> None:
    patient = submit(Claim(time.monotonic() + 20, WorkClass.BATCH), steps=3, guidance_scale=1)
    await until(lambda: len(backend.begun) == 1)
    urgent = submit(steps=3)
    backend.allowed.release(20)
    await asyncio.gather(all_of(patient), all_of(urgent))
    assert backend.begun == [1, 2, 2, 2, 1, 1]


async def test_previews_come_after_every_kth_step_but_the_last(
    backend: GatedBackend, submit: Callable[..., Job]
) -> None:
    backend.gate_open = True
    events = await all_of(submit(steps=6, preview_steps=2))
    assert [(each.index, each.step, each.steps) for each in events if isinstance(each, PreviewFrame)] == [
        (0, 2, 6),
        (0, 4, 6),
    ]
    preview = next(each for each in events if isinstance(each, PreviewFrame))
    assert preview.pixels.dtype == np.uint8
    assert preview.pixels.shape[2] == 3


async def test_no_more_previews_are_made_than_were_asked_for(backend: GatedBackend, submit: Callable[..., Job]) -> None:
    backend.gate_open = True
    events = await all_of(submit(steps=6, preview_steps=1, max_previews=2))
    assert [each.step for each in events if isinstance(each, PreviewFrame)] == [1, 2]


async def test_an_unforeseen_error_in_a_turn_ends_its_jobs_and_not_the_thread(
    gated: Executor, backend: GatedBackend, submit: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    backend.gate_open = True
    with monkeypatch.context() as broken:
        broken.setattr(gated._core.scheduler, "computed", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            await all_of(submit())
    assert gated.free_slots == 3
    assert isinstance((await all_of(submit()))[-1], Summary)


async def test_a_lost_device_ends_every_job_and_takes_no_other(bundle: Bundle, request_of: Make) -> None:
    backend, told = GatedBackend(), threading.Event()
    executor = Executor(Engine(bundle, backend), on_device_lost=told.set)
    order = executor.engine.order(request_of())
    jobs = [executor.submit(order, Claim(time.monotonic() + 20, flow=flow)) for flow in ("hit", "waiting")]
    backend.fault = lambda _: DeviceLost("an illegal memory access")
    backend.allowed.release(5)
    errors = await asyncio.gather(*map(all_of, jobs), return_exceptions=True)
    assert {type(error) for error in errors} <= {DeviceLost, StageUnavailable}
    assert len(backend.begun) == 1
    await until(told.is_set)
    with pytest.raises(StageUnavailable, match="stopping"):
        executor.submit(order, Claim(time.monotonic() + 20))
    assert executor.free_slots == executor.slots
    executor.close()


async def test_spans_belong_to_the_trace_of_who_submitted(
    backend: GatedBackend, submit: Callable[..., Job], spans: InMemorySpanExporter
) -> None:
    tracer = trace.get_tracer("test")
    jobs = []
    for name in ("one", "other"):
        with tracer.start_as_current_span(name):
            jobs.append(submit(steps=2))
    backend.gate_open = True
    backend.allowed.release(2)
    await asyncio.gather(*map(all_of, jobs))
    ended = spans.get_finished_spans()
    for name in ("one", "other"):
        (request,) = [span for span in ended if span.name == name]
        own = [span for span in ended if span.context.trace_id == request.context.trace_id]
        assert [span.name for span in own if span.name == "denoise_step"] == ["denoise_step"] * 2
        (denoise,) = [span for span in own if span.name == "denoise"]
        assert {span.parent.span_id for span in own if span.name == "denoise_step" and span.parent} == {
            denoise.context.span_id
        }
        assert denoise.parent is not None
        assert denoise.parent.span_id == request.context.span_id
    shares = {dict(span.attributes or {}).get("bowerbird.share") for span in ended if span.name == "denoise_step"}
    assert 0.5 in shares


async def test_a_closed_executor_has_stopped_computing_and_says_so_to_who_waits(
    gated: Executor, backend: GatedBackend, submit: Callable[..., Job]
) -> None:
    job = submit(steps=8)
    await until(lambda: len(backend.begun) == 1)
    closing = asyncio.create_task(asyncio.to_thread(gated.close))
    await until(lambda: not gated._inbox.empty())
    backend.allowed.release(1)
    await closing
    with pytest.raises(StageUnavailable, match="stopping"):
        await all_of(job)
    assert len(backend.begun) == 1
