"""A lane: one thread that computes, with an asyncio queue in front.

A service submits work, a generator that computes one piece (a denoise step, a decoded frame) per item, and reads its
items as they are made. The thread looks at cancel and deadline between two items and never inside one, so at most one
piece is computed for a request that nobody waits for. A lane takes `slots` jobs, waiting ones included; a slot is free
again only when computing has really stopped, not when the client went away. Jobs run in the order of their arrival:
who may wait at all, and who goes first, is the gateway's decision.

Work runs in the caller's `contextvars`, so its spans belong to the request's trace.
"""

from __future__ import annotations

import asyncio
import contextvars
import math
import queue
import threading
import time
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

from bowerbird.deadline import Deadline
from bowerbird.engine.metrics import WASTED_STEPS
from bowerbird.errors import DeadlineExceeded, StageUnavailable

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class _End:
    """The last thing in a job's queue: how it ended."""

    error: BaseException | None


class Job(Generic[Item]):
    """One admitted piece of work; belongs to the event loop that submitted it."""

    def __init__(self, work: Callable[[], Generator[Item, None, None]], deadline: Deadline) -> None:
        self.work = work
        self.deadline = deadline
        self.context = contextvars.copy_context()
        self.submitted = time.monotonic()
        self._loop = asyncio.get_running_loop()
        self._items: asyncio.Queue[Item | _End] = asyncio.Queue()
        self._cancelled = threading.Event()

    def cancel(self) -> None:
        """Nobody waits any more: the thread stops before its next item. Harmless on a finished job."""
        self._cancelled.set()

    @property
    def abandoned(self) -> bool:
        """True when what would be computed next is for nobody."""
        return self._cancelled.is_set() or self.deadline.expired

    async def items(self) -> AsyncIterator[Item]:
        """The items as they are made; raises what the work raised, or DeadlineExceeded the moment the time is up."""
        try:
            while True:
                try:
                    item = await asyncio.wait_for(self._items.get(), self.deadline.remaining_seconds)
                except TimeoutError as error:
                    raise _too_late() from error
                if not isinstance(item, _End):
                    yield item
                elif item.error is None:
                    return
                else:
                    raise item.error
        finally:
            self.cancel()

    def post(self, item: Item | _End) -> None:
        """From the thread: hands an item to the loop; one that was closed has nobody who waits."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._items.put_nowait, item)

    def call(self, function: Callable[[], None]) -> None:
        """From the thread: calls `function` in the loop."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function)


class Lane:
    """One thread; `submit` and the count of slots belong to the event loop, computing to the thread."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self._taken = 0
        self._seconds_per_job = 1.0
        self._jobs: queue.SimpleQueue[Job[Any] | None] = queue.SimpleQueue()
        self._running: set[Job[Any]] = set()
        self._thread = threading.Thread(target=self._work, name="lane", daemon=True)
        self._thread.start()

    @property
    def free_slots(self) -> int:
        """How many jobs `submit` would take now."""
        return self.slots - self._taken

    def submit(self, work: Callable[[], Generator[Item, None, None]], deadline: Deadline) -> Job[Item]:
        """Admits the work, or raises StageUnavailable at once when all slots are taken."""
        if self._taken >= self.slots:
            wait = max(1, math.ceil(self._seconds_per_job))
            raise StageUnavailable(f"All {self.slots} slots are taken; ask again later.", retry_after_seconds=wait)
        job = Job(work, deadline)
        self._taken += 1
        self._running.add(job)
        self._jobs.put(job)
        return job

    def close(self, timeout_seconds: float = 10.0) -> None:
        """Cancels everything and waits for the item that is being computed."""
        for job in list(self._running):
            job.cancel()
        self._jobs.put(None)
        self._thread.join(timeout_seconds)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            begin = time.monotonic()
            end = _End(job.context.run(_drain, job))
            job.call(partial(self._finish, job, end, time.monotonic() - begin))

    def _finish(self, job: Job[Any], end: _End, seconds: float) -> None:
        """In the loop: the slot first, so that whoever reads the end finds it free."""
        self._taken -= 1
        self._running.discard(job)
        self._seconds_per_job += 0.2 * (seconds - self._seconds_per_job)
        job.post(end)


def _drain(job: Job[Any]) -> BaseException | None:
    """Computes until the end, or until nobody waits; the exception that ended it."""
    if job.abandoned:
        return _too_late()
    try:
        with closing(job.work()) as items:
            for item in items:
                if job.abandoned:
                    WASTED_STEPS.inc()
                    return _too_late()
                job.post(item)
    except Exception as error:  # every failure of the work belongs to its reader, none may end the thread
        return error
    return None


def _too_late() -> DeadlineExceeded:
    return DeadlineExceeded("The deadline passed before the drawing was finished.", retry_after_seconds=1)
