"""What is removed when: batches that ended a month ago; their files have lives of their own (`files.sweep`)."""

from __future__ import annotations

from sqlalchemy import delete, select

from bowerbird.gateway.batches.tables import batches
from bowerbird.gateway.records.database import Database

KEPT_MS = 30 * 86_400_000
SOME = 5
"""Removed in one transaction: each may have fifty thousand rows of lines."""


class BatchRetention:
    """Removes what is old."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def sweep(self) -> int:
        """How many batches were removed; raises RecordsUnavailable, and may be called again."""
        removed = 0
        while count := await self._remove_some():
            removed += count
        return removed

    async def _remove_some(self) -> int:
        old = select(batches.c.id).where(batches.c.finished_ms <= self._database.now() - KEPT_MS).limit(SOME)
        async with self._database.writing() as connection:
            removing = delete(batches).where(batches.c.id.in_(old)).returning(batches.c.id)
            return len((await connection.execute(removing)).all())
