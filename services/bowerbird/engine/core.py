"""The core: one turn after the other, each what the scheduler chose, computed and settled.

A turn is the whole loop of this engine: choose a batch, compute it, keep what it cost, write it into the requests it
belongs to. `Engine.draw` turns it for one order, `executor` for all requests of a service.

What fails belongs to whom it failed for. A frame that became NaN fails its request and not its batch mates. When the
runtime gives up on a batch, its groups are computed once more, one by one, and only those fail that fail again; when it
was for want of memory, batches are half as large until enough of them went through (`scheduling/ceiling.py`). A device
that is lost stays lost (`device_lost`): only another process can have it again.

A request whose LoRAs find every slot pinned waits for the end of one that pinned some (`_parks`). Of work in class
`batch` that end would be far away while others are here, so it is interrupted: its slots are free at once, its pictures
keep their state, and before its next step it takes slots again.

A computation that was interrupted (`Engine.interrupt`) leaves everything as it was and costs nobody anything: whoever
does that ends the work, or the same turn comes once more.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bowerbird.contracts import WorkClass
from bowerbird.engine.backend import BackendFailed, DeviceLost, OutOfMemory, RunInterrupted
from bowerbird.engine.metrics import (
    BATCH_CEILING,
    COMPUTE_UNIT_SECONDS,
    OUT_OF_MEMORY,
    RETRIED_BATCHES,
    STEP_SECONDS,
    STEPS,
)
from bowerbird.engine.order import Event, Step
from bowerbird.engine.progress import Drawing, Piece
from bowerbird.engine.scheduling.ceiling import BatchCeiling
from bowerbird.engine.scheduling.scheduler import Scheduler
from bowerbird.engine.scheduling.work import Batch, Stage, Task, Work
from bowerbird.errors import BowerbirdError, DrawingFailed, StageFull

if TYPE_CHECKING:
    from bowerbird.engine.drawing import Engine

logger = logging.getLogger(__name__)

Made = tuple[Event, ...] | Exception
"""What became of a task in a turn."""


@dataclass(slots=True)
class Turn:
    """What a turn was for one request: events, and whether it was its last. With an error there is no Summary."""

    work: Work[Drawing]
    piece: Piece | None = None
    events: list[Event] = field(default_factory=list)
    ended: bool = False
    error: Exception | None = None

    def trace(self) -> None:
        """Writes the turn into the request's trace; not for the thread that computes, see `progress`."""
        if self.piece is not None:
            self.work.owner.trace(self.piece)
        if self.ended:
            self.work.owner.close(error=self.error)


class EngineCore:
    """The engine under a scheduler; belongs to one thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._parked: list[Work[Drawing]] = []
        self.device_lost = False
        self._ceiling = BatchCeiling(engine.rows_per_batch)
        self.scheduler: Scheduler[Drawing] = Scheduler(engine.costs, engine.rows_per_batch)

    @property
    def works(self) -> Iterator[Work[Drawing]]:
        """What was admitted and has not ended."""
        yield from self.scheduler.works
        yield from self._parked

    @property
    def idle(self) -> bool:
        """True when there is nothing to compute."""
        return next(self.works, None) is None

    def admit(self, work: Work[Drawing]) -> None:
        """From now on it has its turns."""
        self.scheduler.admit(work)

    def end(self, work: Work[Drawing]) -> None:
        """It has no turn any more, and its LoRAs make room; harmless when it ended before."""
        self.scheduler.remove(work)
        if work in self._parked:
            self._parked.remove(work)
        self._engine.release(work.owner)
        if work.owner.order.loras:
            while self._parked:
                self.scheduler.admit(self._parked.pop(0))

    def turn(self, chosen: Callable[[Batch[Drawing] | None], None] = lambda _: None) -> list[Turn]:
        """Computes what is next; one entry for each request that was in it, none when there is nothing to do.

        `chosen` is called between deciding and computing, and may raise RunInterrupted.
        """
        batch = self.scheduler.next(time.monotonic())
        try:
            chosen(batch)
            if batch is None:
                return []
            began_ns, began = time.time_ns(), time.perf_counter()
            results, clean = self._compute(batch)
        except RunInterrupted:
            return []
        seconds = time.perf_counter() - began
        if self._parks(batch.tasks[0].work, results):
            return []
        if clean:
            self._engine.costs.observe(batch.stage, batch.bucket, batch.rows, seconds)
            COMPUTE_UNIT_SECONDS.set(self._engine.costs.unit_seconds)
            if _is_limited(batch) and self._ceiling.held(self._rows_run(batch), batch.tasks[0].work.shape.rows):
                self._limit("memory sufficed: batches may have up to %d rows again")
        if batch.stage is Stage.STEP:
            STEP_SECONDS.labels(batch.rows).observe(seconds)
            STEPS.inc(len(batch.tasks))
        by_work: dict[Work[Drawing], list[Task[Drawing]]] = {}
        for task in batch.tasks:
            by_work.setdefault(task.work, []).append(task)
        pieces = {work: work.owner.computed(batch, tasks, began_ns, seconds) for work, tasks in by_work.items()}
        self.scheduler.computed(batch, seconds)
        return [self._settle(piece, work, [results[task] for task in by_work[work]]) for work, piece in pieces.items()]

    def _settle(self, piece: Piece, work: Work[Drawing], results: list[Made]) -> Turn:
        events: list[Event] = []
        for made in results:
            if isinstance(made, Exception):
                self.end(work)
                return Turn(work, piece, ended=True, error=made)
            events += made
        if len(events) > 1 and isinstance(events[0], Step):  # frames that step together are told of together
            events = events[:1]
        turn = Turn(work, piece, events, work.ended)
        if work.ended:
            turn.events.append(work.owner.summary())
            self.end(work)
        return turn

    def _parks(self, work: Work[Drawing], results: Mapping[Task[Drawing], object]) -> bool:
        """Sets work aside whose LoRAs found all slots pinned, while there is somebody who will unpin some."""
        pinning = [other for other in self.scheduler.works if other.owner.lora is not None]
        if not pinning or not any(isinstance(result, StageFull) for result in results.values()):
            return False
        last = pinning[-1]  # of batch work, where there is some
        if work.claim.work_class is WorkClass.INTERACTIVE and last.claim.work_class is WorkClass.BATCH:
            self._engine.release(last.owner)
            last.interrupt()
            return True  # and its next turn is another attempt
        self.scheduler.remove(work)
        self._parked.append(work)
        return True

    def _compute(self, batch: Batch[Drawing]) -> tuple[dict[Task[Drawing], Made], bool]:
        """What became of each task, and whether it went through at the first attempt."""
        try:
            return {**self._engine.compute(batch)}, True
        except RunInterrupted:
            raise
        except Exception as error:  # whatever it is belongs to somebody in the batch, and may not end the thread
            self.device_lost = self.device_lost or isinstance(error, DeviceLost)
            if self.device_lost or (isinstance(error, BowerbirdError) and not isinstance(error, BackendFailed)):
                return dict.fromkeys(batch.tasks, error), False
            self._note(error, batch)
        return {task: self._again(batch, task) for task in batch.tasks}, False

    def _again(self, batch: Batch[Drawing], task: Task[Drawing]) -> Made:
        try:
            return self._engine.compute(Batch(batch.stage, batch.bucket, (task,)))[task]
        except RunInterrupted:
            raise
        except Exception as error:  # as above
            self.device_lost = self.device_lost or isinstance(error, DeviceLost)
            where = f"in step {task.call + 1} of {task.work.shape.calls}" if batch.stage is Stage.STEP else batch.stage
            what = "Clip" if task.work.shape.bucket.window else "Frame"
            failed = DrawingFailed(f"{what} {task.index} failed {where}: the runtime gave up twice.")
            failed.__cause__ = error
            return failed

    def _note(self, error: Exception, batch: Batch[Drawing]) -> None:
        """The log gets the type, and the message only where a runtime wrote it: it knows shapes, no prompts."""
        RETRIED_BATCHES.labels(batch.stage).inc()
        said = str(error) if isinstance(error, BackendFailed) else ""
        facts = {"stage": batch.stage, "rows": batch.rows, "said": said}
        logger.warning("a batch failed with %s and is computed one by one", type(error).__qualname__, extra=facts)
        if isinstance(error, OutOfMemory | MemoryError):
            OUT_OF_MEMORY.inc()
            if _is_limited(batch):
                self._ceiling.exceeded(self._rows_run(batch))
                self._limit("out of memory: batches have at most %d rows for now")

    def _rows_run(self, batch: Batch[Drawing]) -> int:
        """Rows that were computed, the dead ones of a fixed shape included."""
        return max(batch.rows, self._engine.denoiser.fixed_rows)

    def _limit(self, said: str) -> None:
        self.scheduler.rows = self._ceiling.rows
        self._engine.limit_rows(self._ceiling.rows)
        BATCH_CEILING.set(self._ceiling.rows)
        logger.warning(said, self._ceiling.rows)


def _is_limited(batch: Batch[Drawing]) -> bool:
    """True when it is a batch that could have been smaller: a clip's pass could not."""
    return batch.stage is Stage.STEP and not batch.bucket.window
