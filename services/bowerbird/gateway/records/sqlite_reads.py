"""SQLite read in a thread, or on the spot.

`Database.rows` asks here for what is asked on the way of a request: a statement goes to a thread and its rows come
back, which is one way. Through SQLAlchemy's asyncio it goes to aiosqlite's thread and back four times (cursor, execute,
fetch, close); on a core that has just been idle that is most of the 3 ms for which a lone picture was looked up in
vain.

`PointRead` is for one row by its primary key, which is asked for a thousand times a second: it is read in the event
loop's own thread, in ten microseconds, a fifth of what any way to a thread and back takes. Readers of a WAL never wait
for a writer, and the few pages of the way to a row that somebody asks for are in memory; whatever stands against it
(a lock, a disk that fails) is not waited for: the row is then asked for in the ordinary way.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from sqlalchemy import Engine, Row, Select
from sqlalchemy.dialects import sqlite


class SQLiteReads:
    """Reads by `engine`, whose connections are in autocommit, in as many threads as it may have connections."""

    def __init__(self, engine: Engine, connections: int, seconds: float) -> None:
        self._engine = engine
        self._threads = ThreadPoolExecutor(connections, "records")
        self._seconds = seconds

    async def rows(self, statement: Select[Any], given: Mapping[str, Any]) -> Sequence[Row[Any]]:
        """What the statement finds with these parameters; raises TimeoutError, and SQLAlchemy's errors."""
        async with asyncio.timeout(self._seconds):
            return await asyncio.get_running_loop().run_in_executor(self._threads, self._rows, statement, given)

    def close(self) -> None:
        """Closes every connection; blocks for as long as one is read from."""
        self._threads.shutdown()
        self._engine.dispose()

    def _rows(self, statement: Select[Any], given: Mapping[str, Any]) -> Sequence[Row[Any]]:
        with self._engine.connect() as connection:
            return connection.execute(statement, given).all()


class PointRead:
    """One statement that finds one row by one text; used in one thread."""

    def __init__(self, file: str, statement: Select[Any]) -> None:
        self._file = file
        self._sql = str(statement.compile(dialect=sqlite.dialect()))
        self._names = [str(column.key) for column in statement.selected_columns]
        self._connection: sqlite3.Connection | None = None

    def row(self, value: str) -> dict[str, Any] | None:
        """The row by its columns' names; None where there is none, or it cannot be read at once."""
        try:
            if self._connection is None:
                self._connection = sqlite3.connect(self._file, timeout=0, isolation_level=None)
                self._connection.execute("PRAGMA query_only = ON")
            found = self._connection.execute(self._sql, (value,)).fetchall()  # all: so the statement is over
        except sqlite3.Error:
            self.close()
            return None
        return dict(zip(self._names, found[0], strict=True)) if found else None

    def close(self) -> None:
        """Closes the connection; the next row is read by another one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
