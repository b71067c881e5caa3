"""Writes a database's files anew, so that nothing is left in them of rows that were deleted.

`Database.rewrite` asks here, when somebody's rows are to be gone rather than forgotten (`gateway/rights`). A deleted
row stays in a file's free space until something else takes it.

SQLite overwrites what it deletes (`secure_delete`), but not in pages of its log that were written before: `VACUUM`
leaves no free page, what older versions left in them included, and a truncating checkpoint empties the log
(https://www.sqlite.org/pragma.html#pragma_wal_checkpoint). PostgreSQL: `VACUUM FULL` writes a table and its indexes to
new files (https://www.postgresql.org/docs/current/sql-vacuum.html); nobody else gets to the table meanwhile, so that it
is tried only for as long as they can wait. Its log (`pg_wal`) is the server's own: it is overwritten as others write.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Sequence

from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

LOCK_SECONDS = 3
"""How long others wait behind us for a table that somebody else reads."""

logger = logging.getLogger(__name__)


async def rewrite_file(writer: AsyncEngine) -> bool:
    """SQLite's file and its log; False when a reader kept the log from being emptied."""
    async with writer.connect() as connection:
        raw = (await connection.get_raw_connection()).driver_connection
        assert raw is not None  # noqa: S101 - it was just connected; for the type checker
        try:
            await raw.execute("VACUUM")  # not through SQLAlchemy, whose every statement begins a transaction
            cursor = await raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            busy, _, _ = await cursor.fetchone()
        except sqlite3.Error as error:
            raise OperationalError("VACUUM", None, error) from error
    return bool(busy == 0)


async def rewrite_tables(writer: AsyncEngine, tables: Sequence[str]) -> bool:
    """These of PostgreSQL's tables; False when one of them was only vacuumed, or not even that."""
    whole = True
    async with writer.connect() as opened:
        connection = await opened.execution_options(isolation_level="AUTOCOMMIT")
        await connection.exec_driver_sql(f"SET lock_timeout = '{LOCK_SECONDS}s'")
        for table in tables:
            if not await _done(connection, f"VACUUM (FULL) {table}"):
                whole = False
                await _done(connection, f"VACUUM {table}")
        await connection.invalidate()  # its timeout must not be somebody else's
    return whole


async def _done(connection: AsyncConnection, statement: str) -> bool:
    try:
        await connection.exec_driver_sql(statement)
    except (DBAPIError, TimeoutError) as error:
        if isinstance(error, DBAPIError) and error.connection_invalidated:
            raise
        logger.warning("a table could not be written anew now", extra={"statement": statement})
        return False
    return True
