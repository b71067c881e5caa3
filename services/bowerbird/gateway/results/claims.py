"""Single-flight across replicas: which of several gateways draws what more than one of them was asked for.

`flights` knows who in this process draws a name; that one asks here whether another process is at it already. A row
says so: the name, who draws it, and until when that is believed. Its owner renews it while it draws, and deletes it
when the result is stored or will not be. Whoever finds somebody else's row looks for the result, again and again, until
it is there or the row is gone or no longer believed; then it draws itself.

    the owner finishes        its result is stored before its row goes, so that whoever waits finds it
    it fails, or hangs up     its row goes, and the next one draws, as its own request with its own outcome
    it dies, or is paused     its row is believed for CLAIM_SECONDS at most
    the database is away      nobody knows, and everybody draws

Two may therefore draw the same: that costs a drawing and harms nothing, since the later result stands in for the
earlier. So the rows need not survive a crash of the database, and PostgreSQL keeps them out of its log (`UNLOGGED`): a
claim costs some round trips and no fsync. With SQLite there is one gateway, and `flights` is enough.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

from sqlalchemy import delete, update

from bowerbird.errors import RecordsUnavailable
from bowerbird.gateway.records.database import Database, upsert
from bowerbird.gateway.results.table import drawings

CLAIM_SECONDS = 6.0
RENEW_SECONDS = 2.0
"""Two renewals may fail before a claim is no longer believed."""
LOOKS_SECONDS = (0.05, 0.1, 0.2, 0.3)
"""Between two looks for a result that another replica draws; the last of them again and again."""
ASK_SECONDS = 1.0
"""To claim; what takes longer is not waited for."""
ROUNDS_PER_SWEEP = 30
"""Every so many renewals (a minute), rows that nobody believes any more are removed."""

Found = TypeVar("Found")

logger = logging.getLogger(__name__)


class Claims:
    """What this process draws, as every replica on the database can know; `owner` is its name in the rows."""

    def __init__(self, database: Database, owner: str) -> None:
        self._database = database
        self._owner = owner
        self._held: set[str] = set()
        self._releasing: set[asyncio.Task[None]] = set()

    async def found_or_claimed(self, name: str, find: Callable[[], Awaitable[Found | None]]) -> Found | None:
        """What `find` gives when another replica has drawn it; None: it is to be drawn here, until `release`."""
        for waited, seconds in enumerate(itertools.chain(LOOKS_SECONDS, itertools.repeat(LOOKS_SECONDS[-1]))):
            if await self._claimed(name):
                found = await find() if waited else None  # it may have been stored since the last look
                if found is not None:
                    self.release(name)
                return found
            await asyncio.sleep(seconds)
            if (found := await find()) is not None:
                return found
        raise AssertionError("unreachable: looks go on for ever")

    def release(self, name: str) -> None:
        """Nobody draws it here any more; harmless where it was not claimed."""
        if name in self._held:
            self._held.discard(name)
            releasing = asyncio.create_task(_unless_away(self._release(name)))
            self._releasing.add(releasing)
            releasing.add_done_callback(self._releasing.discard)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Renews what is held until the context ends; what is held then is given up."""
        renewing = asyncio.create_task(self._renew_again_and_again())
        try:
            yield
        finally:
            renewing.cancel()
            for name in list(self._held):
                self.release(name)
            await asyncio.gather(renewing, *self._releasing, return_exceptions=True)

    async def _claimed(self, name: str) -> bool:
        """Whether it is to be drawn here: it is ours now, or nobody can say whose it is."""
        try:
            async with asyncio.timeout(ASK_SECONDS):
                owner = await self._claim(name)
        except (RecordsUnavailable, TimeoutError):
            owner = self._owner  # as far as anybody knows: it may have been written, only nobody heard of it
        if owner == self._owner:
            self._held.add(name)
        return owner == self._owner

    async def _claim(self, name: str) -> str | None:
        """Who draws it: this process, or None where another one does."""
        now = self._database.now()
        values = {"owner": self._owner, "until_ms": now + round(CLAIM_SECONDS * 1000)}
        async with self._database.writing(lasting=False) as connection:
            draft = upsert(connection, drawings).values(name=name, **values)
            taking = draft.on_conflict_do_update(
                index_elements=["name"],
                set_=values,
                where=(drawings.c.owner == self._owner) | (drawings.c.until_ms <= now),
            )
            owner: str | None = await connection.scalar(taking.returning(drawings.c.owner))
        return owner

    async def _release(self, name: str) -> None:
        async with self._database.writing(lasting=False) as connection:
            await connection.execute(delete(drawings).where(drawings.c.name == name, drawings.c.owner == self._owner))

    async def _renew_again_and_again(self) -> None:
        for number in itertools.count(1):
            await asyncio.sleep(RENEW_SECONDS)
            if self._held:
                await _unless_away(self._renew())
            if number % ROUNDS_PER_SWEEP == 0:
                await _unless_away(self._sweep())

    async def _renew(self) -> None:
        until = self._database.now() + round(CLAIM_SECONDS * 1000)
        own = (drawings.c.owner == self._owner) & drawings.c.name.in_(sorted(self._held))
        async with self._database.writing(lasting=False) as connection:
            await connection.execute(update(drawings).where(own).values(until_ms=until))

    async def _sweep(self) -> None:
        async with self._database.writing(lasting=False) as connection:
            await connection.execute(delete(drawings).where(drawings.c.until_ms <= self._database.now()))


async def _unless_away(work: Coroutine[Any, Any, None]) -> None:
    """Does it, if the database is there; what is neither renewed nor deleted is not believed for long."""
    try:
        with suppress(RecordsUnavailable):
            await work
    except Exception:  # a bug: other claims must still be renewed
        logger.exception("claims could not be written")
