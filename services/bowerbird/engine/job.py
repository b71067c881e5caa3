"""A job: one admitted request as the event loop sees it.

`Executor.submit` makes it in the loop, the computing thread fills it, whoever asked reads `turns`. Its deadline is one
timer of the loop, so that it is told the moment it passes, whatever is being computed.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
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
    """Belongs to the event loop that submitted it; only `abandoned` is read by the thread.

    `on_abandoned` is called, in the loop, when nobody waits any more.
    """

    def __init__(self, work: Work[Drawing], deadline: Deadline, on_abandoned: Callable[[], None]) -> None:
        self.work = work
        self._on_abandoned = on_abandoned
        self._turns: asyncio.Queue[Sequence[Event] | End] = asyncio.Queue()
        self._cancelled = threading.Event()
        self._timer = asyncio.get_running_loop().call_later(deadline.remaining_seconds, self._expire)

    def cancel(self) -> None:
        """Nobody waits any more: nothing is begun for it. Harmless on a finished job."""
        self._timer.cancel()
        self._abandon()

    @property
    def abandoned(self) -> bool:
        """True when what would be computed next is for nobody."""
        return self._cancelled.is_set()

    async def turns(self) -> AsyncGenerator[Sequence[Event]]:
        """The events as they happen, those of one turn together: a last frame comes with its Summary.

        Raises what ended the job, or DeadlineExceeded the moment the time is up.
        """
        try:
            while not isinstance(turn := await self._turns.get(), End):
                yield turn
            if turn.error is not None:
                raise turn.error
        finally:
            self.cancel()

    async def items(self) -> AsyncGenerator[Event]:
        """The events one by one; raises as `turns` does."""
        async with aclosing(self.turns()) as turns:
            async for events in turns:
                for event in events:
                    yield event

    def put(self, turn: Sequence[Event] | End) -> None:
        """In the loop: what the thread has made."""
        self._turns.put_nowait(turn)

    def _expire(self) -> None:
        self._turns.put_nowait(End(too_late()))
        self._abandon()

    def _abandon(self) -> None:
        if not self.abandoned:
            self._cancelled.set()
            self._on_abandoned()


def too_late() -> DeadlineExceeded:
    """The deadline passed."""
    return DeadlineExceeded("The deadline passed before the drawing was finished.", retry_after_seconds=1)
