"""When each key was used last: noted in memory at each request, written for all keys together once in a while.

Somebody who wants to know whether a key is still in use looks back over days; nobody waits for it, and a replica that
dies loses at most its last `WRITE_SECONDS`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

from sqlalchemy import bindparam, update
from sqlalchemy.ext.asyncio import AsyncConnection

from bowerbird.errors import RecordsUnavailable
from bowerbird.gateway.identity.tables import access_keys
from bowerbird.gateway.records.database import Database
from bowerbird.gateway.records.writer import Writer

WRITE_SECONDS = 30.0

logger = logging.getLogger(__name__)


class LastUse:
    """The keys that were used since they were written down."""

    def __init__(self, database: Database, writer: Writer) -> None:
        self._database = database
        self._writer = writer
        self._used: set[str] = set()

    def note(self, key_id: str) -> None:
        """The key was used now."""
        self._used.add(key_id)

    async def write(self) -> None:
        """Writes what was noted; keeps it when the records cannot be written."""
        used, self._used = self._used, set()
        if not used:
            return
        try:
            await self._writer.submit(self._update, sorted(used), lasting=False)
        except RecordsUnavailable:
            self._used |= used
            logger.warning("the last use of keys was not written down")

    @asynccontextmanager
    async def written(self) -> AsyncIterator[None]:
        """Writes now and then until the context ends, and then once more."""
        writing = asyncio.create_task(self._write_for_ever())
        try:
            yield
        finally:
            writing.cancel()
            with suppress(asyncio.CancelledError):
                await writing
            await self.write()

    async def _write_for_ever(self) -> None:
        while True:
            await asyncio.sleep(WRITE_SECONDS)
            await self.write()

    async def _update(self, connection: AsyncConnection, groups: Sequence[Sequence[str]]) -> Sequence[None]:
        marking = update(access_keys).where(access_keys.c.id == bindparam("key_id"))
        rows = [{"key_id": key_id} for key_id in sorted({each for group in groups for each in group})]
        await connection.execute(marking.values(last_used_ms=self._database.now()), rows)
        return [None] * len(groups)
