"""Group commit: while one transaction is being committed, the writes that arrive wait and become the next one together.

A commit costs an fsync however many rows it has; a row by Core's `executemany` costs a twentieth of one through an ORM
session. So a durable submit is cheap exactly when there are many, and takes one commit's time when it is alone.

A `patient` write (a job's progress) starts no transaction of its own at once: it goes with the next group, first of
all, or after PATIENCE_SECONDS. Nobody else waits for a timer.

A write is a function `(connection, items) -> outcomes` and an item; writes of the same function in one group become one
call. `submit` returns after the commit. An item that breaks a constraint breaks only itself: its group is done again
one by one. When the database cannot be asked, all of the group are told so, and nothing of it has happened or, where
the connection broke in the commit itself, all of it: who asks again states the same id and finds it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy.exc import DataError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from bowerbird.errors import BowerbirdError, RecordsUnavailable
from bowerbird.gateway.records.database import RETRY_AFTER_SECONDS, Database

MAX_GROUP = 500
SHORT_GROUP = 32
"""Writes that SQLite does within a millisecond or two: the event loop may wait for them (`Database.writing`)."""
PATIENCE_SECONDS = 0.05
MAX_WAITING = 10_000
"""More writes than this wait only when the database stands still; the next one is refused."""

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")
Write = Callable[[AsyncConnection, Sequence[Item]], Awaitable[Sequence[Outcome]]]


@dataclass(frozen=True, slots=True)
class _Waiting:
    write: Write[Any, Any]
    item: Any
    done: asyncio.Future[Any]
    lasting: bool
    patient: bool


class Writer:
    """Commits groups, one at a time, while `running()` is open."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: list[_Waiting] = []
        self._arrived = asyncio.Event()
        self._urgent = asyncio.Event()
        self._closing = False

    async def submit(
        self, write: Write[Item, Outcome], item: Item, *, lasting: bool = True, patient: bool = False
    ) -> Outcome:
        """The outcome of `item`, committed; raises RecordsUnavailable, or what the write itself raises.

        A group waits for the disk if one of its items is to be `lasting` (`Database.writing`).
        """
        if self._closing or len(self._waiting) >= MAX_WAITING:
            why = "The gateway is stopping" if self._closing else "Too many writes wait for the database"
            again = RETRY_AFTER_SECONDS
            raise RecordsUnavailable(f"{why}; try again in {again} s.", retry_after_seconds=again)
        done: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(write, item, done, lasting, patient))
        self._arrived.set()
        if not patient:
            self._urgent.set()
        return await done

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Commits what is submitted until the context ends; what waits then is committed first."""
        working = asyncio.create_task(self._work())
        try:
            yield
        finally:
            self._closing = True
            self._arrived.set()
            self._urgent.set()
            await working

    async def _work(self) -> None:
        while self._waiting or not self._closing:
            await self._arrived.wait()
            with suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE_SECONDS):
                    await self._urgent.wait()
            group, self._waiting = self._waiting[:MAX_GROUP], self._waiting[MAX_GROUP:]
            if not self._waiting and not self._closing:
                self._arrived.clear()
                self._urgent.clear()
            # Whoever gave up before its group began is left out; later it cannot be told apart from a lost answer.
            if wanted := [each for each in group if not each.done.cancelled()]:
                await self._commit(wanted)

    async def _commit(self, group: Sequence[_Waiting]) -> None:
        try:
            lasting, short = any(each.lasting for each in group), len(group) <= SHORT_GROUP
            async with self._database.writing(lasting=lasting, short=short) as connection:
                outcomes = await _carry_out(connection, group)
        except RecordsUnavailable as error:
            _tell(group, error)
        except (IntegrityError, DataError, BowerbirdError) as error:
            await self._commit_each(group, error)
        except Exception as error:  # a bug in a write must not end the loop that everybody waits for
            _tell(group, error)
        else:
            for each, outcome in zip(group, outcomes, strict=True):
                if not each.done.done():
                    each.done.set_result(outcome)

    async def _commit_each(self, group: Sequence[_Waiting], error: Exception) -> None:
        """One item broke the group: the others must not suffer for it."""
        if len(group) == 1:
            _tell(group, error)
            return
        for each in group:
            await self._commit([each])


async def _carry_out(connection: AsyncConnection, group: Sequence[_Waiting]) -> list[Any]:
    """The outcomes in the order of the group; one call for each function, those that were patient first.

    They were there before whatever ends what they tell of.
    """
    outcomes: list[Any] = [None] * len(group)
    places: dict[Write[Any, Any], list[int]] = {}
    for place, each in sorted(enumerate(group), key=lambda placed: not placed[1].patient):
        places.setdefault(each.write, []).append(place)
    for write, of_write in places.items():
        found = await write(connection, [group[place].item for place in of_write])
        for place, outcome in zip(of_write, found, strict=True):
            outcomes[place] = outcome
    return outcomes


def _tell(group: Sequence[_Waiting], error: Exception) -> None:
    for each in group:
        if not each.done.done():
            each.done.set_exception(error)
