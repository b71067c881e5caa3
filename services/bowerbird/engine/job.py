"""A job: one admitted request as the event loop sees it.

`Executor.submit` makes it in the loop, the computing thread fills it, whoever asked reads `items`. Its deadline is one
timer of the loop, so that it is told the moment it passes, whatever is being computed.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass

from bowerbird.deadline import Deadline
from bowerbird.engine.order import Event
from bowerbird.engine.progress import Drawing
from bowerbird.engine.scheduling.work import Work
from bowerbird.errors import DeadlineExceeded


@dataclass(frozen=True, slots=True)
class End:
    """The last thing that is put into a job: how it ended."""

    error: Exception | None


class Job:
    """Belongs to the event loop that submitted it; only `abandoned` is read by the thread."""

    def __init__(self, work: Work[Drawing], deadline: Deadline) -> None:
        self.work = work
        self._items: asyncio.Queue[Event | End] = asyncio.Queue()
        self._cancelled = threading.Event()
        self._timer = asyncio.get_running_loop().call_later(deadline.remaining_seconds, self._expire)

    def cancel(self) -> None:
        """Nobody waits any more: nothing is begun for it. Harmless on a finished job."""
        self._cancelled.set()
        self._timer.cancel()

    @property
    def abandoned(self) -> bool:
        """True when what would be computed next is for nobody."""
        return self._cancelled.is_set()

    async def items(self) -> AsyncIterator[Event]:
        """The events as they happen; raises what ended the job, or DeadlineExceeded the moment the time is up."""
        try:
            while not isinstance(item := await self._items.get(), End):
                yield item
            if item.error is not None:
                raise item.error
        finally:
            self.cancel()

    def put(self, item: Event | End) -> None:
        """In the loop: what the thread has made."""
        self._items.put_nowait(item)

    def _expire(self) -> None:
        self._cancelled.set()
        self._items.put_nowait(End(too_late()))


def too_late() -> DeadlineExceeded:
    """The deadline passed."""
    return DeadlineExceeded("The deadline passed before the drawing was finished.", retry_after_seconds=1)
