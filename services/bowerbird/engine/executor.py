"""The executor: one thread that computes for all requests of a service, with asyncio in front.

A service submits an order and reads its job's events as they are made. The thread turns the core (`core.turn`) and
looks between two turns at who has come, who has left and whose deadline cannot be met any more. A turn whose requests
were all given up is interrupted where the backend can do that (a step may take seconds on a CPU); elsewhere one piece,
the one under way, is computed for nobody. At most `slots` requests are admitted, the next is told at once when to come
back; a slot is free again only when computing has really stopped, not when the client went away. One thread, because
one model on one device gains nothing from two: what runs side by side is rows of a batch, and that is the backend's.

Who is interactive is kept waiting by `batch` work for the turn that is being computed when he comes, a step or a
decode, and for nothing else: batch work takes the slots that interactive work leaves and is not counted against it, its
turns come when no other is due (`scheduling.scheduler`), and it gives up its LoRAs' places (`core`).

`submit` and the count of slots belong to the event loop, the core to the thread. They meet in three places: an inbox of
admitted jobs, `call_soon_threadsafe`, once a turn, and whose turn it is (`_computing`, under a lock, so that nobody
else's turn is interrupted). The loop is told of a turn when the next one begins to compute: told before, it would hold
the interpreter while the thread wants to choose and to prepare, and the device would wait.
"""

from __future__ import annotations

import asyncio
import logging
import math
import queue
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress

from bowerbird.contracts import WorkClass
from bowerbird.deadline import Deadline
from bowerbird.engine.backend import RunInterrupted
from bowerbird.engine.core import EngineCore, Turn
from bowerbird.engine.drawing import Engine
from bowerbird.engine.job import End, Job, too_late
from bowerbird.engine.metrics import REFUSED_LATE, WASTED_STEPS
from bowerbird.engine.order import Order
from bowerbird.engine.progress import Drawing
from bowerbird.engine.scheduling.work import Batch, Claim, Work
from bowerbird.errors import DeadlineExceeded, StageFull, StageUnavailable

AGAIN_SECONDS = 0.005
"""Until a turn that is for nobody is interrupted once more."""

logger = logging.getLogger(__name__)


class Executor:
    """The computing thread of an engine; with `slots` 0 it has the engine's usual ones.

    `on_device_lost` is called, in the thread, when nothing can be computed in this process any more.
    """

    def __init__(self, engine: Engine, slots: int = 0, on_device_lost: Callable[[], None] | None = None) -> None:
        self.engine = engine
        self.slots = slots or engine.usual_slots
        self._on_device_lost = on_device_lost
        self._core = EngineCore(engine)
        self._inbox: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._jobs: dict[Work[Drawing], Job] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._untold: list[Turn] = []
        self._computing: frozenset[Work[Drawing]] = frozenset()
        self._computing_lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="executor", daemon=True)
        self._thread.start()

    @property
    def free_slots(self) -> int:
        """How many jobs of any class `submit` would take now."""
        return self.slots - len(self._counted(WorkClass.BATCH))

    def submit(self, order: Order, claim: Claim) -> Job:
        """Admits the order; its spans belong to the trace that is current here.

        `claim.deadline` is a moment of `time.monotonic`. Raises StageFull when all slots are taken, DeadlineExceeded
        when the order would take longer than is left even if nobody else were here.
        """
        self._loop = asyncio.get_running_loop()
        if self._core.device_lost:
            raise _stopping()
        counted = self._counted(claim.work_class)
        if len(counted) >= self.slots:
            wait = self._seconds_until_a_slot(counted)
            raise StageFull(f"All {self.slots} slots are taken; ask again later.", retry_after_seconds=wait)
        work = self.engine.work(order, claim)
        if not self._core.scheduler.can_meet(work, time.monotonic()):
            REFUSED_LATE.inc()
            raise _hopeless(self._core.scheduler.remaining_seconds(work))
        job = self._jobs[work] = Job(work, Deadline(claim.deadline), self._interrupt)
        self._inbox.put(job)
        return job

    def close(self, timeout_seconds: float = 10.0) -> None:
        """Waits for the piece that is being computed and ends all jobs."""
        self._inbox.put(None)
        self._thread.join(timeout_seconds)

    def _run(self) -> None:
        """The thread. Whatever is raised in it ends jobs and not the thread."""
        self.engine.adopt_thread()
        here: dict[Work[Drawing], Job] = {}
        while self._take_in(here):
            try:
                self._give_up(here)
                turns = self._turn(here)
                WASTED_STEPS.inc(sum(here[turn.work].abandoned for turn in turns))
            except Exception as error:
                _log_unforeseen(error)
                turns = [self._ended(work, error) for work in list(here)]
            self._deliver(here, turns)
            if self._core.device_lost:
                break
        self._deliver(here, [self._ended(work, _stopping()) for work in list(here)])
        if self._core.device_lost and self._on_device_lost is not None:
            logger.critical("the device is lost; this process can compute nothing any more")
            self._on_device_lost()

    def _turn(self, here: dict[Work[Drawing], Job]) -> list[Turn]:
        """The core's, of which the loop can tell whose it is; none that is for nobody is begun."""

        def begin(batch: Batch[Drawing] | None) -> None:
            self._tell()
            with self._computing_lock:
                self._computing = frozenset(task.work for task in batch.tasks) if batch else frozenset()
            if batch and all(here[work].abandoned for work in self._computing):
                raise RunInterrupted("Nobody waits for it.")

        try:
            return self._core.turn(chosen=begin)
        finally:
            with self._computing_lock:
                self._computing = frozenset()

    def _interrupt(self) -> None:
        """In the loop, when a job was given up: ends the turn that is being computed, if it is for nobody.

        It does so until the turn has ended: what was about to begin hears nothing the first time.
        """
        with self._computing_lock:
            jobs = [self._jobs.get(work) for work in self._computing]
            if not jobs or not all(job is None or job.abandoned for job in jobs):
                return
            self.engine.interrupt()
        asyncio.get_running_loop().call_later(AGAIN_SECONDS, self._interrupt)

    def _take_in(self, here: dict[Work[Drawing], Job]) -> bool:
        """Admits who has come; waits for somebody when nobody is here; False when the executor is closed."""
        wait = not here
        with suppress(queue.Empty):
            while True:
                job = self._inbox.get(block=wait)
                if job is None:
                    return False
                here[job.work] = job
                self._core.admit(job.work)
                wait = False
        return True

    def _give_up(self, here: dict[Work[Drawing], Job]) -> None:
        """Ends whom nobody waits for, and who cannot be served in time."""
        turns = [self._ended(work, too_late()) for work, job in here.items() if job.abandoned]
        for work in self._core.scheduler.hopeless(time.monotonic()):
            REFUSED_LATE.inc()
            turns.append(self._ended(work, _hopeless(self._core.scheduler.remaining_seconds(work))))
        if turns:
            self._deliver(here, turns)

    def _ended(self, work: Work[Drawing], error: Exception) -> Turn:
        try:
            self._core.end(work)
        except Exception as another:
            _log_unforeseen(another)
        return Turn(work, ended=True, error=error)

    def _deliver(self, here: dict[Work[Drawing], Job], turns: list[Turn]) -> None:
        """Lets go of who has ended; the loop hears of it when the next computation begins, or now, if there is none."""
        for turn in turns:
            if turn.ended:
                here.pop(turn.work)
        self._untold += turns
        if not here:
            self._tell()

    def _tell(self) -> None:
        """Hands past turns to the loop once there is something to be told; one that was closed has nobody who waits."""
        if not any(turn.events or turn.ended for turn in self._untold):
            return  # waking it would cost the computation a part of a core
        turns, self._untold = self._untold, []
        if self._loop is not None:
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._receive, turns)

    def _receive(self, turns: list[Turn]) -> None:
        """In the loop: the slot first, so that whoever reads the end finds it free."""
        for turn in turns:
            job = self._jobs.pop(turn.work) if turn.ended else self._jobs[turn.work]
            turn.trace()
            if turn.events:
                job.put(turn.events)
            if turn.ended:
                job.put(End(turn.error))

    def _counted(self, work_class: WorkClass) -> list[Work[Drawing]]:
        """Who is in the way of a job of this class."""
        interactive = WorkClass.INTERACTIVE
        return [work for work in self._jobs if work_class is not interactive or work.claim.work_class is interactive]

    def _seconds_until_a_slot(self, counted: Sequence[Work[Drawing]]) -> int:
        """On average one job ends each time that a `slots`-th of the backlog is computed."""
        backlog = sum(self._core.scheduler.remaining_seconds(work) for work in counted)
        return max(1, math.ceil(backlog / self.slots))


def _log_unforeseen(error: Exception) -> None:
    """Type and stack; not the message, in which somebody may have quoted a prompt."""
    stack = "".join(traceback.format_tb(error.__traceback__))
    logger.error("unforeseen %s in the computing thread", type(error).__qualname__, extra={"stack": stack})


def _stopping() -> StageUnavailable:
    return StageUnavailable("The service is stopping.", retry_after_seconds=1)


def _hopeless(seconds: float) -> DeadlineExceeded:
    fact = f"The drawing takes about {seconds:.1f} s more, which is later than the deadline."
    return DeadlineExceeded(fact, retry_after_seconds=1)
