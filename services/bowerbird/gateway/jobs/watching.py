"""News of jobs for those who wait: at once when this process made the news, else by one look a second for everybody.

A listener reads the events it does not know, then waits here for more. One query asks for all jobs that somebody waits
for, so that two thousand idle listeners cost what one costs.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from bowerbird.errors import RecordsUnavailable
from bowerbird.gateway.background import in_background
from bowerbird.gateway.records.job_events import JobEvents

LOOK_SECONDS = 1.0

logger = logging.getLogger(__name__)


@dataclass(eq=False, slots=True)
class _Listener:
    job_id: str
    known: int
    news: asyncio.Event


class JobWatch:
    """Wakes listeners while `running()` is open."""

    def __init__(self, events: JobEvents) -> None:
        self._events = events
        self._listeners: dict[str, set[_Listener]] = {}
        self._wanted = asyncio.Event()

    async def wait(self, job_id: str, known: int, seconds: float) -> bool:
        """True as soon as there may be an event with a higher number than `known`; False when `seconds` have passed."""
        listener = _Listener(job_id, known, asyncio.Event())
        self._listeners.setdefault(job_id, set()).add(listener)
        self._wanted.set()
        try:
            async with asyncio.timeout(seconds):
                await listener.news.wait()
        except TimeoutError:
            return False
        finally:
            of_job = self._listeners[job_id]
            of_job.discard(listener)
            if not of_job:
                del self._listeners[job_id]
        return True

    def notify(self, job_id: str) -> None:
        """Something happened to this job here."""
        for listener in self._listeners.get(job_id, ()):
            listener.news.set()

    def notify_all(self) -> None:
        """Something happened to this process: everybody who listens looks again."""
        for job_id in self._listeners:
            self.notify(job_id)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Looks for news from other replicas until the context ends."""
        async with in_background(self._look_again_and_again()):
            yield

    async def _look_again_and_again(self) -> None:
        while True:
            await self._wanted.wait()
            await asyncio.sleep(LOOK_SECONDS)
            if not self._listeners:
                self._wanted.clear()
                continue
            try:
                await self._look(sorted(self._listeners))
            except RecordsUnavailable:
                logger.warning("nobody hears of jobs while the records cannot be read")
            except Exception:  # a bug: listeners must not wait for ever for it
                logger.exception("news of jobs were not looked for")

    async def _look(self, job_ids: Sequence[str]) -> None:
        last = await self._events.last_numbers(job_ids)
        for job_id in job_ids:
            for listener in self._listeners.get(job_id, ()):
                if last.get(job_id, listener.known + 1) > listener.known:  # gone is news too
                    listener.news.set()
