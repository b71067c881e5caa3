"""What this process has at the stages now: the least busy of several endpoints, and which stages are in use."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

AVOIDED_SECONDS = 2.0
"""Longer than between two looks at a stage."""


class InFlight:
    """Requests under way, by endpoint and by stage; for one event loop."""

    def __init__(self) -> None:
        self._at: Counter[str] = Counter()
        self._of: Counter[str] = Counter()
        self._most: dict[str, int] = {}
        self._avoided: dict[str, float] = {}

    def begin(self, stage: str, url: str) -> None:
        """One more is under way there."""
        self._at[url] += 1
        self._of[stage] += 1
        self._most[stage] = max(self._most.get(stage, 0), self._of[stage])

    def end(self, stage: str, url: str) -> None:
        """One of them is over."""
        self._of[stage] -= 1
        self._at[url] -= 1
        if not self._at[url]:
            del self._at[url]  # pods come and go, and each has another address

    def avoid(self, url: str) -> None:
        """Nobody was there, or the connection broke: for AVOIDED_SECONDS others are asked, until a look has shown more.

        Else who refuses at once would have the least under way, and be asked by everybody.
        """
        self._avoided[url] = time.monotonic() + AVOIDED_SECONDS

    def least_busy(self, urls: Sequence[str]) -> str:
        """The one of them with the least under way; the first of equals, and one that is avoided only where all are."""
        if len(urls) == 1:
            return urls[0]
        if self._avoided:
            now = time.monotonic()
            self._avoided = {url: until for url, until in self._avoided.items() if until > now}
            urls = [url for url in urls if url not in self._avoided] or urls
        return min(urls, key=self._at.__getitem__)

    def most(self, stage: str) -> int:
        """How many were under way at once at most since this was asked last: short ones would be overlooked else."""
        most = self._most.pop(stage, 0)
        if self._of[stage]:
            self._most[stage] = self._of[stage]
        return most
