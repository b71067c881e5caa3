"""The results that were asked for last, in one gateway process' memory: a hit there needs no database and no file.

Least recently used makes room. An entry is believed for `seconds` and then asked of the store again, so that this is
how long a replica goes on giving what another has replaced, or what has expired meanwhile.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from bowerbird.gateway.results.result import Result

MEMORY_BYTES = 64 * 1024 * 1024
"""Some two hundred and fifty pictures of 256 x 256, each with its base64 and its facts."""
MEMORY_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Remembered:
    """A result, and its row's id; None when it is not stored yet."""

    result: Result
    row_id: str | None
    until: float


class Memory:
    """Results by name, in at most `max_bytes` of pictures, their base64 and their facts."""

    def __init__(
        self,
        max_bytes: int = MEMORY_BYTES,
        seconds: float = MEMORY_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_bytes = max_bytes
        self._seconds = seconds
        self._clock = clock
        self._entries: OrderedDict[str, Remembered] = OrderedDict()
        self._bytes = 0

    @property
    def bytes(self) -> int:
        """What its results take; one that has two names counts twice."""
        return self._bytes

    def get(self, name: str) -> Remembered | None:
        """What is remembered by this name and still believed."""
        entry = self._entries.get(name)
        if entry is None:
            return None
        if entry.until <= self._clock():
            self._forget(name)
            return None
        self._entries.move_to_end(name)
        return entry

    def put(self, name: str, result: Result, row_id: str | None = None) -> None:
        """Remembers a result by this name, instead of what was."""
        if name in self._entries:
            self._forget(name)
        if result.held_bytes > self._max_bytes:
            return
        self._entries[name] = Remembered(result, row_id, self._clock() + self._seconds)
        self._bytes += result.held_bytes
        while self._bytes > self._max_bytes:
            self._forget(next(iter(self._entries)))

    def forget(self, name: str) -> None:
        """Forgets what there is by this name."""
        if name in self._entries:
            self._forget(name)

    def clear(self) -> None:
        """Forgets everything; what is asked for again is asked of the store."""
        self._entries.clear()
        self._bytes = 0

    def _forget(self, name: str) -> None:
        self._bytes -= self._entries.pop(name).result.held_bytes
