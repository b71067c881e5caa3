"""Batch work is computed when nobody interactive waits, and keeps him waiting for the turn he comes in, and no longer.

Through the real executor: requests of both classes come, and hang up, while a turn is being computed; with LoRAs, of
which the device has room for one, so that batch work may hold what interactive work needs.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import save_file

from bowerbird.contracts import DrawRequest, LoraUse, Size, WorkClass
from bowerbird.engine.drawing import Engine, Frame, Results
from bowerbird.engine.executor import Executor
from bowerbird.engine.job import Job
from bowerbird.engine.progress import Drawing
from bowerbird.engine.scheduling.work import Batch, Claim, Stage
from bowerbird.errors import DeadlineExceeded, StageFull

from .gated_backend import GatedBackend
from .tiny_bundle import LORA_MODULES, WIDTH, Tiny, write_tiny_bundle

SLOTS = 2
LORAS = ("crayon", "ink")
INTERACTIVE, BATCH = WorkClass.INTERACTIVE, WorkClass.BATCH
Pixels = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Visit:
    """A request that comes while turn `turn` is computed, and hangs up `stays` turns later, if it is here then."""

    turn: int
    work_class: WorkClass
    request: DrawRequest
    stays: int = 1000


@dataclass(frozen=True)
class Turn:
    """What was computed and for whom, while so many interactive requests waited that had come in an earlier turn."""

    stage: Stage
    classes: set[WorkClass]
    waiting: int


@dataclass(frozen=True)
class Refusal:
    """Who found no slot, and how many were here: of both classes, and of its own."""

    visit: Visit
    here: int
    alike: int


class Watched(Engine):
    """Asks a play what happens while a turn is computed."""

    play: Play | None = None

    def compute(self, batch: Batch[Drawing]) -> Results:
        if self.play is not None:
            asyncio.run_coroutine_threadsafe(self.play.during(batch), self.play.loop).result(60)
        return super().compute(batch)


@dataclass
class Play:
    """An executor with its visits; `turns` is what was computed, `refused` who was, `pictures` what the others got."""

    executor: Executor
    visits: Sequence[Visit]
    turns: list[Turn] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    pictures: dict[Visit, list[Pixels]] = field(default_factory=dict)
    _jobs: dict[Job, Visit] = field(default_factory=dict)
    _came: dict[Job, int] = field(default_factory=dict)
    _readers: list[asyncio.Task[None]] = field(default_factory=list)
    _turn: int = -1

    async def run(self) -> None:
        """Until all have come and have ended; turns in which nobody is here are passed over."""
        self.loop = asyncio.get_running_loop()
        while self._turn < max(visit.turn for visit in self.visits):
            self._happen(meanwhile=1)
            while self._readers:
                await self._readers.pop()

    async def during(self, batch: Batch[Drawing]) -> None:
        """In the loop, before the turn's computing begins and after it was decided."""
        known = [job for job, came in self._came.items() if came <= self._turn]
        here = [job.work for job in known if not (job.abandoned or job.work.ended)]
        waiting = sum(work.claim.work_class is INTERACTIVE for work in here)
        classes = {task.work.claim.work_class for task in batch.tasks}
        self.turns.append(Turn(batch.stage, classes, waiting))
        self._happen()

    def _happen(self, meanwhile: int = 0) -> None:
        """Where no turn is computed, the next may be decided before all of these are here: `meanwhile` is 1."""
        self._turn += 1
        for job, visit in self._jobs.items():
            if visit.turn + visit.stays == self._turn:
                job.cancel()
        for visit in self.visits:
            if visit.turn == self._turn:
                self._come(visit, self._turn + meanwhile)

    def _come(self, visit: Visit, turn: int) -> None:
        order = self.executor.engine.order(visit.request)
        try:
            job = self.executor.submit(order, Claim(time.monotonic() + 60, visit.work_class))
        except StageFull:
            alike = sum(each.work_class is visit.work_class for each in self._jobs.values())
            self.refused.append(Refusal(visit, len(self._jobs), alike))
            return
        self._jobs[job], self._came[job] = visit, turn
        self._readers.append(asyncio.create_task(self._read(job, visit)))

    async def _read(self, job: Job, visit: Visit) -> None:
        frames = []
        with suppress(DeadlineExceeded):  # what who hangs up would be told
            frames = [event.pixels async for event in job.items() if isinstance(event, Frame)]
            self.pictures[visit] = frames
        del self._jobs[job], self._came[job]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Watched:
    loras: Path = tmp_path_factory.mktemp("loras")
    for number, name in enumerate(LORAS):
        random = np.random.default_rng(number)
        matrices = {
            f"denoiser.{module}.{key}.weight": random.standard_normal(shape).astype(np.float32)
            for module in LORA_MODULES
            for key, shape in (("lora_A", (2, WIDTH)), ("lora_B", (WIDTH, 2)))
        }
        save_file(matrices, loras / f"{name}.safetensors")
    bundle = write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny", Tiny(lora=True))
    return Watched(bundle, GatedBackend(efficient_rows=4, gate_open=True), loras=loras, lora_slots=1)


def request(lora: str | None = None, *, steps: int = 3, count: int = 1, guidance_scale: float = 2.0) -> DrawRequest:
    return DrawRequest(
        prompt="a small red bird",
        size=Size(width=16, height=16),
        steps=steps,
        guidance_scale=guidance_scale,
        seed=7,
        count=count,
        lora=[] if lora is None else [LoraUse(id=lora)],
    )


def played(engine: Watched, visits: Sequence[Visit]) -> Play:
    executor = Executor(engine, slots=SLOTS)
    play = engine.play = Play(executor, visits)
    try:
        asyncio.run(play.run())
    finally:
        engine.play = None
        executor.close()
    return play


def alone(engine: Watched, asked: DrawRequest) -> list[Pixels]:
    return [event.pixels for event in engine.draw(engine.order(asked)) if isinstance(event, Frame)]


def assert_near(some: Sequence[Pixels], others: Sequence[Pixels]) -> None:
    """To one level: a batch of another size rounds differently."""
    assert len(some) == len(others)
    for one, other in zip(some, others, strict=True):
        np.testing.assert_allclose(one.astype(int), other.astype(int), atol=1)


VISITS = st.builds(
    Visit,
    turn=st.integers(0, 12),
    work_class=st.sampled_from(WorkClass),
    request=st.builds(
        request,
        st.sampled_from([None, *LORAS]),
        steps=st.integers(1, 4),
        count=st.integers(1, 2),
        guidance_scale=st.sampled_from([1.0, 2.0]),
    ),
    stays=st.sampled_from([1, 3, 1000]),
)


@settings(max_examples=150)
@given(visits=st.lists(VISITS, min_size=2, max_size=7))
def test_who_is_interactive_waits_for_batch_work_until_the_turn_he_came_in_ends(
    engine: Watched, visits: list[Visit]
) -> None:
    play = played(engine, visits)
    for turn in play.turns:
        assert len(turn.classes) == 1
        assert not turn.waiting or turn.classes == {INTERACTIVE}
    for refusal in play.refused:
        assert (refusal.alike if refusal.visit.work_class is INTERACTIVE else refusal.here) >= SLOTS
    for visit, pictures in play.pictures.items():
        assert_near(pictures, alone(engine, visit.request))


def test_batch_work_gives_its_loras_place_up_and_goes_on_where_it_was(engine: Watched) -> None:
    patient, urgent = Visit(0, BATCH, request("ink", steps=6, count=2)), Visit(3, INTERACTIVE, request("crayon"))
    play = played(engine, [patient, urgent])
    step, decode, encode = ([(stage, work_class) for work_class in (BATCH, INTERACTIVE)] for stage in
                            (Stage.STEP, Stage.DECODE, Stage.ENCODE))  # fmt: skip
    assert [(turn.stage, *turn.classes) for turn in play.turns] == [
        encode[0], *step[:1] * 2,  # and in the second step he comes
        *encode[1:] * 2, *step[1:] * 3, decode[1],  # the first time there is no place
        encode[0], *step[:1] * 4, *decode[:1] * 2,
    ]  # fmt: skip
    assert_near(play.pictures[patient], alone(engine, patient.request))


def test_batch_work_takes_no_slot_from_who_is_interactive(engine: Watched) -> None:
    many = [Visit(0, BATCH, request(steps=4)) for _ in range(SLOTS)]
    urgent = [Visit(1, INTERACTIVE, request(steps=4)) for _ in range(SLOTS)]
    late = [Visit(2, work_class, request(steps=4)) for work_class in WorkClass]
    play = played(engine, [*many, *urgent, *late])
    assert [refusal.visit for refusal in play.refused] == late
    assert play.pictures.keys() == {*many, *urgent}
