"""What this replica remembers of rows that requests depend on, so that a request does not cost a query; and for how
long, so that a change made anywhere holds here within seconds.

What was read is used for `REFRESH_SECONDS` without a question, then read again while it goes on being used, and never
believed for more than `BELIEVED_SECONDS` after the database last said so. Only while the database cannot be asked is
what it said last good for longer (`AWAY_SECONDS`): nobody can revoke anything there then either. What was not known by
then is not let in.

That there is nothing under a key is remembered as briefly, so that whoever tries keys costs one query for many.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from bowerbird.errors import RecordsUnavailable
from bowerbird.gateway.records.reader import GroupedReads

REFRESH_SECONDS = 2.0
BELIEVED_SECONDS = 5.0
AWAY_SECONDS = 60.0
MAX_REMEMBERED = 20_000
"""Each takes less than a kilobyte."""

Key = TypeVar("Key")
Found = TypeVar("Found")
Value = TypeVar("Value")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Remembered(Generic[Value]):
    value: Value | None
    asked_at: float


class Remembered(Generic[Key, Found, Value]):
    """Values by key; `value_of` makes one of what was found and of when it was asked for (monotonic), once."""

    def __init__(
        self,
        read: Callable[[Sequence[Key]], Awaitable[Mapping[Key, Found]]],
        value_of: Callable[[Found, float], Value],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reads = GroupedReads(read)
        self._value_of = value_of
        self._clock = clock
        self._all: dict[Key, _Remembered[Value]] = {}
        self._refreshing: dict[Key, asyncio.Task[_Remembered[Value]]] = {}

    async def get(self, key: Key) -> Value | None:
        """The value, or None where there is nothing; raises RecordsUnavailable when nobody can say."""
        known, now = self._all.get(key), self._clock()
        if known is None or now >= known.asked_at + BELIEVED_SECONDS:
            known = await self._asked_again(key, known)
        elif now >= known.asked_at + REFRESH_SECONDS:
            self._refresh(key)
        return known.value

    def at_once(self, key: Key) -> Value | None:
        """What needs no question: what was read within REFRESH_SECONDS."""
        known = self._all.get(key)
        return known.value if known is not None and self._clock() < known.asked_at + REFRESH_SECONDS else None

    def __contains__(self, key: Key) -> bool:
        """Whether anything is remembered of this key, however long ago it was asked about."""
        return key in self._all

    def forget(self) -> None:
        """Everything is asked anew: something was changed here."""
        self._all.clear()

    async def _asked_again(self, key: Key, known: _Remembered[Value] | None) -> _Remembered[Value]:
        try:
            return await asyncio.shield(self._refresh(key))
        except RecordsUnavailable:
            if known is None or known.value is None or self._clock() >= known.asked_at + AWAY_SECONDS:
                raise
            return known

    def _refresh(self, key: Key) -> asyncio.Task[_Remembered[Value]]:
        refreshing = self._refreshing.get(key)
        if refreshing is None:
            refreshing = self._refreshing[key] = asyncio.create_task(self._ask(key))
            refreshing.add_done_callback(lambda done: self._asked(key, done))
        return refreshing

    def _asked(self, key: Key, done: asyncio.Task[_Remembered[Value]]) -> None:
        del self._refreshing[key]
        if not done.cancelled() and (error := done.exception()):  # seen, should nobody wait for it
            logger.warning("what is remembered could not be refreshed", extra={"error": type(error).__name__})

    async def _ask(self, key: Key) -> _Remembered[Value]:
        asked_at = self._clock()
        found = await self._reads.get(key)
        fresh = _Remembered(None if found is None else self._value_of(found, asked_at), asked_at)
        self._all.pop(key, None)
        while len(self._all) >= MAX_REMEMBERED:  # the one that was asked about longest ago
            del self._all[next(iter(self._all))]
        self._all[key] = fresh
        return fresh
