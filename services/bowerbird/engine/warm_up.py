"""Warming up: everything runs before the first request, and is measured while it does.

First runs allocate, start threads, and compile on some runtimes; nobody should wait for that. What a later run takes is
what the scheduler starts from. The first size is always run; then, while `MORE_SECONDS` last, the graphs with LoRAs and
every other size, the cheapest first. A piece that would probably take more than is left is not run: what it costs is
carried over from a size that was (`scheduling/costs.py`), and its first pictures correct that.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING

import numpy as np

from bowerbird.contracts import Size
from bowerbird.engine.metrics import BATCH_CEILING, COMPUTE_UNIT_SECONDS
from bowerbird.engine.model.clip import ClipForm
from bowerbird.engine.model.conditioning import PromptIds
from bowerbird.engine.model.encoder import FirstPicture
from bowerbird.engine.order import Order
from bowerbird.engine.progress import Drawing
from bowerbird.engine.scheduling.costs import COLD
from bowerbird.engine.scheduling.work import Bucket, Stage

if TYPE_CHECKING:
    from bowerbird.engine.drawing import Engine

AGAIN_BELOW_SECONDS = 0.5
"""A first run that took longer is not repeated, except on a GPU, or when it took much longer than expected; where
nothing was expected yet, it counts as cold (`scheduling/costs.py`) until the first request's run."""

GPU_RUNS = 3
"""The first of a shape allocates, the second is captured as a CUDA graph, the third is what all others will be."""

MEASURE_SECONDS = 1.0
"""What looking for the largest batch that pays may take, once it has begun to warm a size."""

MORE_SECONDS = 5.0
"""What all sizes but the first, and LoRAs, may take: a cold start is what a user waits for."""


def warm_up(engine: Engine) -> None:
    """Runs and measures every stage, and every size in time; on a GPU, finds out how many rows a batch should have."""
    first, *others = engine.facts.sizes
    if engine.facts.reads_prompts:
        prompts = _prompts(engine, first)
        _measure(engine, Stage.ENCODE, engine.bucket(first), 1, lambda: engine.groups(Drawing(next(prompts))))
    if engine.draws_pictures:
        engine.limit_rows(_rows_that_pay(engine, first))
    _run_passes(engine, first, math.inf)
    _run_pictures(engine, first, math.inf)
    until = time.perf_counter() + MORE_SECONDS
    if engine.banks is not None:
        engine.banks.prepare(engine.shelf.likely_rank())
        _run_steps(engine, first, until, lora=True)
    for size in sorted(others, key=lambda size: size.width * size.height):
        _run_steps(engine, size, until)
        _run_passes(engine, size, until)
        _run_pictures(engine, size, until)
        if engine.banks is not None:
            _run_steps(engine, size, until, lora=True)
    BATCH_CEILING.set(engine.rows_per_batch)
    COMPUTE_UNIT_SECONDS.set(engine.costs.unit_seconds)


def _prompts(engine: Engine, size: Size) -> Iterator[Order]:
    """Orders of no two equal prompts, since what was encoded once is known: the empty one's tokens, turned."""
    blank = engine.blank(size)
    for turn in count():
        yield replace(blank, positive=PromptIds(tuple(np.roll(ids, turn) for ids in blank.positive.arrays)))


def _rows_that_pay(engine: Engine, size: Size) -> int:
    """Two rows, as a guided picture has them; then one, and where a GPU is to be measured more, while time is left."""
    began = time.perf_counter()
    engine.denoiser.fixed_rows = 0
    if _measure_step(engine, size, 2) < MEASURE_SECONDS / 2:
        _measure_step(engine, size, 1)
    if not engine.measures_rows:
        return engine.rows_per_batch
    rows = 4
    while rows <= engine.rows_per_batch and time.perf_counter() - began < MEASURE_SECONDS:
        _measure_step(engine, size, rows)
        rows *= 2
    return engine.costs.efficient_rows(engine.bucket(size), rows // 2)


def _run_steps(engine: Engine, size: Size, until: float, *, lora: bool = False) -> None:
    """One row, two, and a full batch."""
    for rows in sorted({1, 2, engine.rows_per_batch}) if engine.draws_pictures else ():
        if _is_in_time(engine, Stage.STEP, engine.bucket(size, lora=lora), rows, until):
            _measure_step(engine, size, rows, lora=lora)


def _run_passes(engine: Engine, size: Size, until: float) -> None:
    """A pass of a clip: two rows, as guidance has them, and, where that is quick, one."""
    if engine.motion is None:
        return
    guided = replace(engine.blank(size), clip=ClipForm(engine.motion, engine.motion.window, engine.motion.window))
    if _measure_pass(engine, guided, until) < MEASURE_SECONDS / 2:
        _measure_pass(engine, replace(guided, negative=None), until)


def _measure_pass(engine: Engine, clip: Order, until: float) -> float:
    bucket, rows = engine.bucket(clip.size, clips=True), 1 if clip.negative is None else 2
    if not _is_in_time(engine, Stage.STEP, bucket, rows, until):
        return math.inf
    fresh = [engine.groups(Drawing(clip)) for _ in range(GPU_RUNS)]
    return _measure(engine, Stage.STEP, bucket, rows, lambda: engine.denoiser.step(fresh.pop()))


def _run_pictures(engine: Engine, size: Size, until: float) -> None:
    """Decoding, and a preview, of grey, since from noise fp16 might overflow; and encoding a picture."""
    bucket = engine.bucket(size)
    latents = np.zeros(bucket.shape, np.float32)
    together = engine.motion.decoded_together if engine.motion else 1
    if _is_in_time(engine, Stage.DECODE, bucket, 1, until):
        _measure(engine, Stage.DECODE, bucket, 1, lambda: engine.decoder.frames([latents] * together))
    if engine.encoder is not None and _is_in_time(engine, Stage.ENCODE_PICTURE, bucket, 1, until):
        _measure(engine, Stage.ENCODE_PICTURE, bucket, 1, _reading(engine, size))
    preview = engine.preview
    if preview is not None and _is_in_time(engine, Stage.PREVIEW, bucket, 1, until):
        _measure(engine, Stage.PREVIEW, bucket, 1, lambda: preview.picture(latents))


def _reading(engine: Engine, size: Size) -> Callable[[], object]:
    """What a request that begins with a picture has done first."""
    encoder = engine.encoder
    assert encoder is not None  # noqa: S101 - whoever calls looked
    if not engine.facts.reads_prompts:
        return lambda: engine.groups(Drawing(engine.blank(size)))
    black = FirstPicture(np.zeros((size.height, size.width, 3), np.uint8), None, 0)
    return lambda: encoder.first(black)


def _measure_step(engine: Engine, size: Size, rows: int, *, lora: bool = False) -> float:
    drawing = Drawing(replace(engine.blank(size, count=rows), negative=None))
    if lora and engine.banks is not None:
        drawing.lora = engine.banks.blank
    fresh = [engine.groups(drawing) for _ in range(GPU_RUNS)]
    bucket = engine.bucket(size, lora=lora)
    return _measure(engine, Stage.STEP, bucket, rows, lambda: engine.denoiser.step(fresh.pop()))


def _measure(engine: Engine, stage: Stage, bucket: Bucket, rows: int, run: Callable[[], object]) -> float:
    expected = engine.costs.seconds(stage, bucket, rows)
    seconds, cold = _timed(run), False
    if engine.measures_rows:
        seconds = min(_timed(run) for _ in range(GPU_RUNS - 1))
    elif seconds < AGAIN_BELOW_SECONDS or 0 < COLD * expected < seconds:
        seconds = min(seconds, _timed(run))
    else:
        cold = not expected
    engine.costs.observe(stage, bucket, rows, seconds, cold=cold)
    return seconds


def _is_in_time(engine: Engine, stage: Stage, bucket: Bucket, rows: int, until: float) -> bool:
    return time.perf_counter() + COLD * engine.costs.seconds(stage, bucket, rows) <= until


def _timed(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began
