"""SQLite read in a thread: a statement goes there and its rows come back, which is one way.

`Database.rows` asks here for what is asked on the way of a request. Through SQLAlchemy's asyncio a statement goes to
aiosqlite's thread and back four times (cursor, execute, fetch, close); on a core that has just been idle that is most
of the 3 ms for which a lone picture was looked up in vain.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from sqlalchemy import Engine, Row, Select


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
