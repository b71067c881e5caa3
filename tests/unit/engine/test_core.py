"""What fails belongs to whom it failed for; the others are drawn as if nothing had been."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from bowerbird.contracts import DrawRequest
from bowerbird.engine.backend import BackendFailed, OutOfMemory, RunInterrupted
from bowerbird.engine.bundle import Bundle
from bowerbird.engine.core import EngineCore, Turn
from bowerbird.engine.drawing import Engine, Frame, Summary
from bowerbird.engine.metrics import BATCH_CEILING, OUT_OF_MEMORY, RETRIED_BATCHES, STEPS
from bowerbird.engine.progress import Drawing
from bowerbird.engine.scheduling.ceiling import BatchCeiling
from bowerbird.engine.scheduling.work import Claim, Stage, Work
from bowerbird.errors import DrawingFailed, RequestInvalid

from .gated_backend import GatedBackend
from .tiny_bundle import LORA_MODULES, WIDTH, Tiny, write_tiny_bundle

Make = Callable[..., DrawRequest]
FOREVER = Claim(deadline=float("inf"))


@pytest.fixture
def backend() -> GatedBackend:
    return GatedBackend(efficient_rows=6, gate_open=True)


@pytest.fixture
def engine(bundle: Bundle, backend: GatedBackend) -> Engine:
    return Engine(bundle, backend)


@pytest.fixture
def core(engine: Engine) -> EngineCore:
    return EngineCore(engine)


def admit(core: EngineCore, engine: Engine, request: DrawRequest, flow: str = "") -> Work[Drawing]:
    work = engine.work(engine.order(request), Claim(FOREVER.deadline, flow=flow))
    core.admit(work)
    return work


def run(core: EngineCore) -> dict[Work[Drawing], Turn]:
    """Until nothing is left; the last turn of each work."""
    last: dict[Work[Drawing], Turn] = {}
    while not core.idle:
        last |= {turn.work: turn for turn in core.turn() if turn.ended}
    return last


@pytest.mark.parametrize("when", ["before it", "within it"])
def test_a_turn_that_is_interrupted_has_changed_nothing_and_comes_again(
    core: EngineCore, engine: Engine, backend: GatedBackend, request_of: Make, when: str
) -> None:
    def refuse(_: object) -> None:
        raise RunInterrupted("by a test")

    (alone,) = [each for each in engine.draw(engine.order(request_of(seed=3, steps=3))) if isinstance(each, Frame)]
    work = admit(core, engine, request_of(seed=3, steps=3))
    core.turn()
    steps, retried = STEPS._value.get(), RETRIED_BATCHES.labels(Stage.STEP)._value.get()
    if when == "before it":
        assert core.turn(chosen=refuse) == []
    else:
        backend.fault = lambda _: RunInterrupted("by a test")
        assert core.turn() == []
        backend.fault = lambda _: None
    assert (STEPS._value.get(), RETRIED_BATCHES.labels(Stage.STEP)._value.get()) == (steps, retried)
    (frame,) = [each for each in run(core)[work].events if isinstance(each, Frame)]
    assert np.array_equal(frame.pixels, alone.pixels)


def test_a_diverged_row_fails_its_request_by_name_and_step_and_not_its_batch_mates(
    core: EngineCore, engine: Engine, request_of: Make
) -> None:
    sick, healthy = (admit(core, engine, request_of(seed=seed, steps=4)) for seed in (1, 2))
    for _ in range(3):
        core.turn()
    sick.owner.groups[0].state[0, 0, 0, 0] = np.nan
    last = run(core)
    assert isinstance(last[sick].error, DrawingFailed)
    assert str(last[sick].error) == "Frame 0 became NaN or infinite in step 2 of 4; another seed may succeed."
    assert last[healthy].error is None
    assert isinstance(last[healthy].events[-1], Summary)


def test_a_frame_that_is_not_finite_when_decoded_fails_by_name_and_is_not_sent_as_a_dark_one(
    core: EngineCore, engine: Engine, request_of: Make
) -> None:
    sick = admit(core, engine, request_of(seed=1, steps=2, count=2))
    while not sick.owner.groups or not all(group.finished for group in sick.owner.groups):
        core.turn()
    healthy = admit(core, engine, request_of(seed=2, steps=2))
    sick.owner.groups[1].state[:] = np.nan
    last = run(core)
    assert isinstance(last[sick].error, DrawingFailed)
    assert str(last[sick].error).startswith("Frame 1 became NaN or infinite when it was decoded")
    assert last[healthy].error is None


def test_a_batch_that_the_runtime_gave_up_on_is_computed_again_one_by_one(
    core: EngineCore, engine: Engine, backend: GatedBackend, request_of: Make
) -> None:
    retried = RETRIED_BATCHES.labels("denoise")._value.get()
    works = [admit(core, engine, request_of(seed=seed, steps=2)) for seed in (1, 2, 3)]
    faults = [BackendFailed("a transient fault")]
    backend.fault = lambda rows: faults.pop() if faults else None
    last = run(core)
    assert [last[work].error for work in works] == [None] * 3
    assert backend.begun == [6, 2, 2, 2, 6]
    assert RETRIED_BATCHES.labels("denoise")._value.get() - retried == 1
    (alone,) = [each for each in engine.draw(engine.order(request_of(seed=2, steps=2))) if isinstance(each, Frame)]
    (frame,) = [each for each in last[works[1]].events if isinstance(each, Frame)]
    assert np.abs(frame.pixels.astype(int) - alone.pixels).max() <= 1


def test_what_fails_again_alone_fails_and_nobody_else(
    core: EngineCore, engine: Engine, backend: GatedBackend, request_of: Make
) -> None:
    unguided, guided = (admit(core, engine, request_of(guidance_scale=scale, steps=2)) for scale in (1, 2))
    backend.fault = lambda rows: BackendFailed("no kernel for one row") if rows in (1, 3) else None
    last = run(core)
    error = last[unguided].error
    assert isinstance(error, DrawingFailed)
    assert str(error) == "Frame 0 failed in step 1 of 2: the runtime gave up twice."
    assert isinstance(error.__cause__, BackendFailed)
    assert last[guided].error is None


def test_out_of_memory_halves_the_batches_and_says_so(
    core: EngineCore, engine: Engine, backend: GatedBackend, request_of: Make
) -> None:
    counted = OUT_OF_MEMORY._value.get()
    works = [admit(core, engine, request_of(seed=seed, steps=3)) for seed in (1, 2, 3)]
    backend.fault = lambda rows: OutOfMemory("no room") if rows > 3 else None
    last = run(core)
    assert [last[work].error for work in works] == [None] * 3
    assert backend.begun[:5] == [6, 2, 2, 2, 2]
    assert max(backend.begun[1:]) == 2
    assert OUT_OF_MEMORY._value.get() - counted == 1
    assert BATCH_CEILING._value.get() == 3
    assert engine.rows_per_batch == 3


def test_after_enough_batches_that_memory_sufficed_for_they_grow_again(
    core: EngineCore, engine: Engine, backend: GatedBackend, request_of: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(core, "_ceiling", BatchCeiling(6, patience=2))
    for seed in (1, 2, 3):
        admit(core, engine, request_of(seed=seed, steps=8))
    faults = [OutOfMemory("another process had it")]
    backend.fault = lambda rows: faults.pop() if faults else None
    while BATCH_CEILING._value.get() != 6 or faults:
        assert core.turn()
    assert engine.rows_per_batch == core.scheduler.rows == 6
    backend.begun.clear()
    run(core)
    assert backend.begun[0] == 6


def test_an_error_that_is_no_runtimes_fails_only_whom_it_hits(
    core: EngineCore, engine: Engine, request_of: Make
) -> None:
    broken, healthy = (admit(core, engine, request_of(seed=seed, steps=2)) for seed in (1, 2))
    for _ in range(2):
        core.turn()
    broken.owner.groups[0].state = np.zeros((1, 1), np.float32)  # a shape that nothing can be stacked with
    last = run(core)
    assert isinstance(last[broken].error, DrawingFailed)
    assert last[healthy].error is None


class TestLoras:
    """Requests with LoRAs, on a device that has one slot for them."""

    @pytest.fixture
    def engine(self, tmp_path: Path, backend: GatedBackend) -> Engine:
        (tmp_path / "loras").mkdir()
        for number, name in enumerate(("ink", "crayon")):
            random = np.random.default_rng(number)
            matrices = {
                f"denoiser.{module}.{key}.weight": random.standard_normal(shape).astype(np.float32)
                for module in LORA_MODULES
                for key, shape in (("lora_A", (2, WIDTH)), ("lora_B", (WIDTH, 2)))
            }
            save_file(matrices, tmp_path / "loras" / f"{name}.safetensors")
        bundle = write_tiny_bundle(tmp_path / "bundle", Tiny(lora=True))
        return Engine(bundle, backend, loras=tmp_path / "loras", lora_slots=1)

    def test_a_lora_that_finds_its_slots_pinned_waits_for_the_end_of_who_pinned_them(
        self, core: EngineCore, engine: Engine, backend: GatedBackend, request_of: Make
    ) -> None:
        first, second = (admit(core, engine, request_of(lora=[{"id": name}], steps=2)) for name in ("ink", "crayon"))
        third = admit(core, engine, request_of(lora=[{"id": "ink", "weight": 0.5}], steps=2))
        ended = []
        while not core.idle:
            ended += [turn for turn in core.turn() if turn.ended]
        assert {turn.work for turn in ended[:2]} == {first, third}
        assert ended[2].work is second
        assert [turn.error for turn in ended] == [None] * 3
        assert backend.begun == [4, 4, 2, 2]

    def test_who_waits_for_a_slot_may_leave(self, core: EngineCore, engine: Engine, request_of: Make) -> None:
        first, second = (admit(core, engine, request_of(lora=[{"id": name}], steps=2)) for name in ("ink", "crayon"))
        for _ in range(3):
            core.turn()
        assert list(core.works) == [first, second]
        core.end(second)
        assert list(run(core)) == [first]

    def test_a_cancelled_request_unpins_its_loras(self, core: EngineCore, engine: Engine, request_of: Make) -> None:
        work = admit(core, engine, request_of(lora=[{"id": "ink"}]))
        core.turn()
        assert work.owner.lora is not None
        core.end(work)
        other = admit(core, engine, request_of(lora=[{"id": "crayon"}]))
        assert run(core)[other].error is None

    def test_more_loras_than_there_are_slots_is_an_error_and_not_a_wait(
        self, core: EngineCore, engine: Engine, request_of: Make
    ) -> None:
        work = admit(core, engine, request_of(lora=[{"id": "ink"}, {"id": "crayon"}]))
        assert isinstance(run(core)[work].error, RequestInvalid)

    def test_rows_with_and_without_lora_are_different_batches(
        self, core: EngineCore, engine: Engine, backend: GatedBackend, request_of: Make
    ) -> None:
        admit(core, engine, request_of(lora=[{"id": "ink"}], steps=2))
        admit(core, engine, request_of(steps=2))
        run(core)
        assert backend.begun == [2, 2, 2, 2]


def test_a_fixed_batch_shape_holds_whatever_is_in_it(bundle: Bundle, backend: GatedBackend, request_of: Make) -> None:
    engine = Engine(bundle, backend, fixed_batch=True)
    core = EngineCore(engine)
    admit(core, engine, request_of(steps=2))
    admit(core, engine, request_of(steps=3, guidance_scale=1))
    run(core)
    assert set(backend.begun) == {6}


def test_a_warm_engine_knows_what_everything_costs(bundle: Bundle, request_of: Make) -> None:
    engine = Engine(bundle, GatedBackend(gate_open=True))
    engine.warm_up()
    core = EngineCore(engine)
    work = admit(core, engine, request_of(preview_steps=1))
    assert core.scheduler.remaining_seconds(work) > 0
    assert engine.costs.unit_seconds > 0
