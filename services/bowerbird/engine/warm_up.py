"""Warming up: everything runs once before the first request, and is measured while it does.

First runs allocate, start threads, and compile on some runtimes; nobody should wait for that. What a second run takes
is what the scheduler starts from; it costs a small model milliseconds, and a large one is not run a second time: its
first measurement is corrected by the first pictures.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from bowerbird.contracts import Size
from bowerbird.engine.metrics import BATCH_CEILING, COMPUTE_UNIT_SECONDS
from bowerbird.engine.progress import Drawing
from bowerbird.engine.scheduling.work import Bucket, Stage

if TYPE_CHECKING:
    from bowerbird.engine.drawing import Engine

AGAIN_BELOW_SECONDS = 0.1
"""A first run that took longer is its own measurement."""

MEASURE_SECONDS = 1.0
"""What looking for the largest batch that pays may take, once it has begun to warm a size."""


def warm_up(engine: Engine) -> None:
    """Runs and measures every stage at the first size; on a GPU, finds out how many rows a batch should have."""
    size = engine.facts.sizes[0]
    bucket = Bucket(engine.facts.latents.shape(size))
    first = Drawing(engine.blank(size))
    _measure(engine, Stage.ENCODE, bucket, 1, lambda: engine.groups(first))
    _measure_steps(engine, bucket, size)
    latents = engine.groups(first)[0].latents
    _measure(engine, Stage.DECODE, bucket, 1, lambda: engine.decoder.frame(latents))
    if (preview := engine.preview) is not None:
        _measure(engine, Stage.PREVIEW, bucket, 1, lambda: preview.picture(latents))
    BATCH_CEILING.set(engine.rows_per_batch)
    COMPUTE_UNIT_SECONDS.set(engine.costs.unit_seconds)


def _measure_steps(engine: Engine, bucket: Bucket, size: Size) -> None:
    """Two rows, as a guided picture has them; then one, and where a GPU is to be measured more, while time is left."""

    def measure(rows: int) -> float:
        order = replace(engine.blank(size, count=rows), negative=None)
        fresh = [engine.groups(Drawing(order)) for _ in range(2)]
        return _measure(engine, Stage.STEP, bucket, rows, lambda: engine.denoiser.step(fresh.pop()))

    began = time.perf_counter()
    engine.denoiser.fixed_rows = 0
    if measure(2) < MEASURE_SECONDS / 2:
        measure(1)
    best = engine.rows_per_batch
    if engine.measures_rows:
        rows = 4
        while rows <= engine.rows_per_batch and time.perf_counter() - began < MEASURE_SECONDS:
            measure(rows)
            rows *= 2
        best = engine.costs.efficient_rows(bucket, rows // 2)
    engine.limit_rows(best)


def _measure(engine: Engine, stage: Stage, bucket: Bucket, rows: int, run: Callable[[], object]) -> float:
    seconds = _timed(run)
    if seconds < AGAIN_BELOW_SECONDS:
        seconds = min(seconds, _timed(run))
    engine.costs.observe(stage, bucket, rows, seconds)
    return seconds


def _timed(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began
