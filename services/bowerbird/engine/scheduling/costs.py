"""What pieces of work cost: seconds by stage, size and rows, measured where they are computed.

`Engine.warm_up` measures once, briefly; from then on every computation keeps its entry up to date by an exponential
average, so that a machine that is busy with others, or a size that was never warmed, is known after a few steps. The
scheduler shares out these seconds, refuses what cannot be finished in time, and a full service says by them when to
come back. Rows in between are interpolated; an unmeasured size costs what a measured one does, by latent pixels.

A graph's very first run reads its weights from the disk and allocates, and where a run takes seconds nobody waits for a
second one at start. Such a `cold` measurement counts for a part of itself, and only until the first warm one: too high
a price would refuse everybody whose deadline is near, and so never be corrected; too low a one costs a step.

The compute unit is one row of one step of the first size as it was measured at start: a number to compare pods with.
"""

from __future__ import annotations

from bowerbird.engine.scheduling.work import Bucket, Stage

NEWEST = 0.2
"""Weight of the newest measurement."""

OUTLIER = 2.0
"""A measurement counts as at most so many times what was expected: first runs allocate, machines pause. One pause then
moves the average by a fifth, which makes no deadline hopeless that was not tight (`scheduler.SURELY`)."""

COLD = 2.0
"""A first run takes at most about so many times what later ones do; *measured* with a step of Stable Diffusion 1.5: 1.2
in seconds of CPU, 1.9 on the clock of a service that starts."""

PAYS = 1.1
"""Twice the rows pay when each row gets cheaper by this much; otherwise they only delay the first frame."""


class CostTable:
    """Written by the computing thread, read by any: a curve is replaced and never changed."""

    def __init__(self) -> None:
        self._curves: dict[tuple[Stage, Bucket], dict[int, float]] = {}
        self._cold: set[tuple[Stage, Bucket]] = set()
        self._unit_of: tuple[Stage, Bucket] | None = None
        self.unit_seconds = 0.0

    def observe(self, stage: Stage, bucket: Bucket, rows: int, seconds: float, *, cold: bool = False) -> None:
        """One computation took so long; `cold` was its graph's first run, and is forgotten at the next."""
        key, rows = _key(stage, bucket), _rows(stage, rows)
        forgotten = key in self._cold
        curve = {} if forgotten else self._curves.get(key, {})
        if cold:
            seconds /= COLD
            self._cold.add(key)
        else:
            self._cold.discard(key)
            expected = 0.0 if forgotten else self.seconds(stage, bucket, rows)
            seconds = min(seconds, OUTLIER * expected) if expected else seconds
        known = curve.get(rows, seconds)
        self._curves[key] = dict(sorted({**curve, rows: known + NEWEST * (seconds - known)}.items()))
        if stage is Stage.STEP and (not self.unit_seconds or (forgotten and key == self._unit_of)):
            self._unit_of, self.unit_seconds = key, seconds / rows

    def seconds(self, stage: Stage, bucket: Bucket, rows: int) -> float:
        """What one computation will take; 0 for a stage that was never computed."""
        key, rows = _key(stage, bucket), _rows(stage, rows)
        if curve := self._curves.get(key):
            return _at(curve, rows)
        nearest = min(
            (each for each in list(self._curves) if each[0] is stage),
            key=lambda each: (abs(_pixels(each[1]) - _pixels(key[1])), each[1].lora != key[1].lora),
            default=None,
        )
        if nearest is None:
            return 0.0
        return _at(self._curves[nearest], rows) * _pixels(key[1]) / _pixels(nearest[1])

    def units(self, stage: Stage, bucket: Bucket, rows: int) -> float:
        """What one row of such a computation costs, in compute units; `unit_seconds` must have been measured."""
        return self.seconds(stage, bucket, rows) / rows / self.unit_seconds

    def efficient_rows(self, bucket: Bucket, ceiling: int) -> int:
        """The largest measured batch, doubling up to `ceiling`, whose rows are still cheaper than half as many."""
        rows = 1
        while 2 * rows <= ceiling and self._row(bucket, rows) >= PAYS * self._row(bucket, 2 * rows):
            rows *= 2
        return rows

    def _row(self, bucket: Bucket, rows: int) -> float:
        return self.seconds(Stage.STEP, bucket, rows) / rows


def _key(stage: Stage, bucket: Bucket) -> tuple[Stage, Bucket]:
    """Only the denoiser has more than one graph, and prompts take the same time at every size."""
    if stage is Stage.ENCODE:
        return stage, Bucket((0, 1, 1))
    return stage, bucket if stage is Stage.STEP else Bucket(bucket.shape)


def _rows(stage: Stage, rows: int) -> int:
    """Of everything but a step there is one, however many rows the picture's steps have."""
    return rows if stage is Stage.STEP else 1


def _pixels(bucket: Bucket) -> int:
    return bucket.shape[1] * bucket.shape[2] * max(1, bucket.window)


def _at(curve: dict[int, float], rows: int) -> float:
    """Linear between two measured batches, proportional below the smallest and above the largest."""
    if rows in curve:
        return curve[rows]
    if not min(curve) < rows < max(curve):
        nearest = min(curve) if rows < min(curve) else max(curve)
        return curve[nearest] * rows / nearest
    below, above = max(each for each in curve if each < rows), min(each for each in curve if each > rows)
    part = (rows - below) / (above - below)
    return curve[below] + part * (curve[above] - curve[below])
