"""A scheduler on a made-up clock: what a batch costs is what it takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from bowerbird.engine.scheduling.scheduler import Scheduler
from bowerbird.engine.scheduling.work import Batch, Bucket, Claim, Shape, Stage, Work

FOREVER = float("inf")
SMALL, LARGE, SMALL_LORA = Bucket((4, 8, 8)), Bucket((4, 16, 16)), Bucket((4, 8, 8), lora=True)
BUCKETS = (SMALL, LARGE, SMALL_LORA)
CLIP = Bucket((4, 8, 8), window=16)


@dataclass
class Prices:
    """A step costs something as such and something a row; LARGE four times as much, a clip's sixteen times."""

    call: float = 0.0
    row: float = 1.0
    decode: float = 1.0
    other: float = 0.1

    def seconds(self, stage: Stage, bucket: Bucket, rows: int) -> float:
        pixels = 4 if bucket == LARGE else 1
        if stage is Stage.STEP:
            return (self.call + self.row * rows) * pixels * max(1, bucket.window)
        return self.decode * pixels if stage is Stage.DECODE else self.other


class Clock:
    """A scheduler whose batches take exactly what they cost."""

    def __init__(self, rows: int = 4, prices: Prices | None = None) -> None:
        self.now = 0.0
        self.prices = prices or Prices()
        self.scheduler: Scheduler[str] = Scheduler(self.prices, rows)
        self.batches: list[Batch[str]] = []

    def admit(self, name: str, shape: Shape, claim: Claim | None = None) -> Work[str]:
        work = Work(name, shape, claim or Claim(FOREVER), self.now)
        self.scheduler.admit(work)
        return work

    def turn(self) -> Batch[str] | None:
        batch = self.scheduler.next(self.now)
        if batch is not None:
            seconds = self.prices.seconds(batch.stage, batch.bucket, batch.rows)
            self.now += seconds
            self.scheduler.computed(batch, seconds)
            self.batches.append(batch)
        return batch

    def run(self, until: Callable[[], bool]) -> None:
        for _ in range(10_000):
            if until():
                return
            self.turn()
        pytest.fail("that never happened")
