"""What has run, and what is known, before the first request."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from bowerbird.contracts import DrawRequest, Size
from bowerbird.engine import warm_up
from bowerbird.engine.backend import Array, Resident
from bowerbird.engine.bundle import Bundle
from bowerbird.engine.core import EngineCore
from bowerbird.engine.drawing import Engine, Frame
from bowerbird.engine.scheduling.work import Bucket, Claim, Stage

from .gated_backend import GatedBackend
from .tiny_bundle import LORA_MODULES, WIDTH, Tiny, write_tiny_bundle

SIDES = (16, 8, 32)
MEASURED = (Stage.STEP, Stage.DECODE, Stage.PREVIEW)


class CountingBackend(GatedBackend):
    """Remembers the shapes of the arrays that were made for LoRAs."""

    def __init__(self, **options: Any) -> None:
        super().__init__(gate_open=True, **options)
        self.residents: list[tuple[int, ...]] = []

    def resident(self, array: Array) -> Resident:
        self.residents.append(array.shape)
        return super().resident(array)


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle of three sizes that takes LoRAs; the first size is neither the smallest nor the largest."""
    return write_tiny_bundle(tmp_path_factory.mktemp("several") / "bundle", Tiny(more_sides=SIDES[1:], lora=True))


def write_lora(folder: Path, name: str, rank: int) -> None:
    folder.mkdir(exist_ok=True)
    random = np.random.default_rng(rank)
    shapes = (("lora_A", (rank, WIDTH)), ("lora_B", (WIDTH, rank)))
    matrices = {
        f"denoiser.{module}.{key}.weight": random.standard_normal(shape).astype(np.float32)
        for module in LORA_MODULES
        for key, shape in shapes
    }
    save_file(matrices, folder / f"{name}.safetensors")


def bucket(engine: Engine, side: int, lora: bool = False) -> Bucket:
    return Bucket(engine.facts.latents.shape(Size(width=side, height=side)), lora)


def measured(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> set[tuple[Stage, Bucket, int]]:
    """Warms up; what was observed while it did."""
    found: set[tuple[Stage, Bucket, int]] = set()
    observe = engine.costs.observe

    def noting(stage: Stage, bucket: Bucket, rows: int, seconds: float, **more: Any) -> None:
        found.add((stage, bucket, rows))
        observe(stage, bucket, rows, seconds, **more)

    monkeypatch.setattr(engine.costs, "observe", noting)
    engine.warm_up()
    return found


def test_every_size_is_measured_with_one_row_two_and_a_full_batch(
    several: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine(several, CountingBackend(efficient_rows=4))
    found = measured(engine, monkeypatch)
    for side in SIDES:
        assert {(stage, bucket(engine, side), 1) for stage in MEASURED} <= found
        assert (Stage.STEP, bucket(engine, side), 2) in found
    for side in SIDES[1:]:
        assert (Stage.STEP, bucket(engine, side), 4) in found
    assert not any(each.lora for _, each, _ in found)


def test_what_would_take_too_long_is_not_run_and_costs_by_its_pixels(
    several: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warm_up, "MORE_SECONDS", 0.0)
    write_lora(tmp_path / "loras", "ink", 2)
    engine = Engine(several, CountingBackend(), loras=tmp_path / "loras")
    found = measured(engine, monkeypatch)
    assert {each.shape for _, each, _ in found} == {bucket(engine, SIDES[0]).shape}
    assert not any(each.lora for _, each, _ in found)
    small, large = (engine.costs.seconds(Stage.STEP, bucket(engine, side), 2) for side in (16, 32))
    assert large == pytest.approx(4 * small)


def test_the_graphs_with_loras_have_run_and_their_room_is_made(
    several: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request_of: Callable[..., DrawRequest]
) -> None:
    write_lora(tmp_path / "loras", "small", 2)
    write_lora(tmp_path / "loras", "large", 12)
    (tmp_path / "loras" / "broken.safetensors").write_bytes(b"\xff" * 100)
    backend = CountingBackend()
    engine = Engine(several, backend, loras=tmp_path / "loras", lora_slots=3)
    found = measured(engine, monkeypatch)
    assert {(Stage.STEP, bucket(engine, side, lora=True), 2) for side in SIDES} <= found
    assert {(shape[0], max(shape[2:])) for shape in backend.residents} == {(4, 16)}
    backend.residents.clear()
    order = engine.order(request_of(lora=[{"id": "small"}, {"id": "large", "weight": 0.5}]))
    (frame,) = [event for event in engine.draw(order) if isinstance(event, Frame)]
    assert frame.pixels.std() > 0
    assert backend.residents == []  # the first LoRA made nothing


def test_a_blank_lora_leaves_every_slot_free_and_changes_nothing(
    several: Bundle, tmp_path: Path, request_of: Callable[..., DrawRequest]
) -> None:
    write_lora(tmp_path / "loras", "ink", 2)
    cold, warm = (Engine(several, GatedBackend(gate_open=True), loras=tmp_path / "loras", lora_slots=1) for _ in "ab")
    warm.warm_up()
    for request in (request_of(), request_of(lora=[{"id": "ink"}])):
        one, other = (
            next(event.pixels for event in engine.draw(engine.order(request)) if isinstance(event, Frame))
            for engine in (cold, warm)
        )
        assert np.array_equal(one, other)


def test_encoding_is_measured_and_not_what_the_cache_knows(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(bundle, GatedBackend(gate_open=True))
    encoded = []
    observe = engine.costs.observe

    def noting(stage: Stage, *facts: Any, **more: Any) -> None:
        if stage is Stage.ENCODE:
            encoded.append(engine.conditioner.encoded)
        observe(stage, *facts, **more)

    monkeypatch.setattr(engine.costs, "observe", noting)
    engine.warm_up()
    assert encoded == [2]


class GpuLike(GatedBackend):
    """Has its batches measured as a GPU has, and its first two runs of a shape take long."""

    measure_rows = True


def test_on_a_gpu_the_run_after_allocating_and_capturing_is_the_measurement(bundle: Bundle) -> None:
    backend = GpuLike(gate_open=True, efficient_rows=4)
    engine = Engine(bundle, backend)
    engine.warm_up()
    counts = {rows: backend.begun.count(rows) for rows in (1, 2, 4)}
    assert counts == {rows: warm_up.GPU_RUNS for rows in (1, 2, 4)}


def test_a_first_step_of_seconds_is_not_repeated_and_refuses_nobody_whom_a_warm_one_would_serve(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, request_of: Callable[..., DrawRequest]
) -> None:
    """Its weights came from the disk: it took twice as long as any other will."""
    monkeypatch.setattr(warm_up, "_timed", lambda run: (run(), 20.0)[1])
    engine = Engine(bundle, backend := GatedBackend(gate_open=True))
    engine.warm_up()
    assert backend.begun == [2]
    work = engine.work(engine.order(request_of(steps=4)), Claim(0.0))
    assert EngineCore(engine).scheduler.can_meet(work, -60.0)
    engine.costs.observe(Stage.STEP, work.shape.bucket, 2, 19.0)
    assert not EngineCore(engine).scheduler.can_meet(work, -60.0)
    assert engine.costs.unit_seconds == pytest.approx(9.5)
