"""Reading for many at once: while one query is answered, the questions that arrive wait and become the next one.

The counterpart of `writer`: what a caller asks about one row costs a connection, a transaction and a thread's turn,
which thirty callers can share. Nobody waits for a timer, and every answer is at least as new as its question.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Generic, TypeVar

MAX_GROUP = 500

Key = TypeVar("Key")
Value = TypeVar("Value")


class GroupedReads(Generic[Key, Value]):
    """Answers by key; `read` is asked for all keys of a group, and leaves out those that do not exist."""

    def __init__(self, read: Callable[[Sequence[Key]], Awaitable[Mapping[Key, Value]]]) -> None:
        self._read = read
        self._waiting: dict[Key, asyncio.Future[Value | None]] = {}
        self._reading: asyncio.Task[None] | None = None

    async def get(self, key: Key) -> Value | None:
        """What there is under this key now; raises what `read` raises."""
        answer = self._waiting.get(key)
        if answer is None:
            answer = self._waiting[key] = asyncio.get_running_loop().create_future()
        if self._reading is None:
            self._reading = asyncio.create_task(self._read_all())
        return await asyncio.shield(answer)

    async def _read_all(self) -> None:
        try:
            while self._waiting:
                keys = list(self._waiting)[:MAX_GROUP]
                await self._read_some({key: self._waiting.pop(key) for key in keys})
        finally:
            self._reading = None

    async def _read_some(self, group: Mapping[Key, asyncio.Future[Value | None]]) -> None:
        try:
            found = await self._read(list(group))
        except Exception as error:  # it is the callers' to handle, each for itself
            for answer in group.values():
                answer.set_exception(error)
                answer.exception()  # seen, should every caller have left
        else:
            for key, answer in group.items():
                answer.set_result(found.get(key))
