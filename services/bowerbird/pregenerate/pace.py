"""When the next row may be asked for.

Whoever is told to wait (429, 503, nobody there) waits for all: rows that went on asking meanwhile would be told the
same. A rest is as long as the gateway says, else it doubles from failure to failure; the first success ends the series.
"""

from __future__ import annotations

import asyncio
import random
import time

from bowerbird.client.retrying import backoff_seconds

MOST_DOUBLINGS = 8
STRAGGLE_SECONDS = 0.25
"""Who rested together does not come back together."""


class Pace:
    """One for all rows of a run."""

    def __init__(self) -> None:
        self._not_before = 0.0
        self._failures = 0
        self._failing_since: float | None = None

    async def turn(self) -> None:
        """Returns when a row may be asked for."""
        while (left := self._not_before - time.monotonic()) > 0:  # noqa: ASYNC110 - it may be put off meanwhile
            await asyncio.sleep(left + random.uniform(0, STRAGGLE_SECONDS))  # noqa: S311 - spreads load

    def succeeded(self) -> None:
        """A row was answered."""
        self._failures, self._failing_since = 0, None

    def failed(self, retry_after_seconds: float | None) -> float:
        """Has all rest; how long nothing has succeeded, seconds."""
        now = time.monotonic()
        if self._not_before <= now:  # of several that failed together, one counts
            self._failures = min(self._failures + 1, MOST_DOUBLINGS)
        rest = backoff_seconds(self._failures) if retry_after_seconds is None else retry_after_seconds
        self._not_before = max(self._not_before, now + rest)
        self._failing_since = now if self._failing_since is None else self._failing_since
        return now - self._failing_since
