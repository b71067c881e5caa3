"""Deadlines: one moment after which nobody waits for a request any more.

The gateway makes one when a request arrives, and sends what is left in `Bowerbird-Deadline-Ms` with every hop; a stage
makes its own from that header. Remaining time travels instead of a time of day, because two machines' clocks differ.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from bowerbird.contracts import DEADLINE_HEADER
from bowerbird.errors import DeadlineExceeded, RequestInvalid

MAX_DEADLINE_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment on this process' monotonic clock, in seconds."""

    at: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """The moment `seconds` from now."""
        return cls(time.monotonic() + seconds)

    @classmethod
    def from_headers(cls, headers: Mapping[str, str], default_seconds: float) -> Deadline:
        """The deadline that the caller stated, at most an hour; raises RequestInvalid when it is no number of ms."""
        raw = headers.get(DEADLINE_HEADER)
        if raw is None:
            return cls.after(default_seconds)
        if not (raw.isascii() and raw.isdigit() and 1 <= int(raw[:9]) <= MAX_DEADLINE_MS and len(raw) <= 9):
            raise RequestInvalid(
                f"Bowerbird-Deadline-Ms must be a whole number of milliseconds from 1 to {MAX_DEADLINE_MS}.",
                param="Bowerbird-Deadline-Ms",
            )
        return cls.after(int(raw) / 1000)

    @property
    def remaining_seconds(self) -> float:
        """What is left, never below 0."""
        return max(0.0, self.at - time.monotonic())

    @property
    def expired(self) -> bool:
        """True when nobody waits any more."""
        return time.monotonic() >= self.at

    @asynccontextmanager
    async def within(self, stage: str) -> AsyncIterator[None]:
        """Ends what runs inside when the time is up, with DeadlineExceeded naming the stage."""
        try:
            async with asyncio.timeout(self.remaining_seconds):
                yield
        except TimeoutError as error:
            fact = f"The deadline passed before {stage} was finished."
            raise DeadlineExceeded(fact, retry_after_seconds=1) from error

    def headers(self) -> dict[str, str]:
        """What is left, for the next hop; raises DeadlineExceeded when nothing is."""
        milliseconds = int(self.remaining_seconds * 1000)
        if milliseconds < 1:
            raise DeadlineExceeded("The deadline passed before the request was finished.", retry_after_seconds=1)
        return {DEADLINE_HEADER: str(milliseconds)}
