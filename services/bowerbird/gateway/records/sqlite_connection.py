"""SQLite's connections as `database` opens them: closed, they hold nothing; a short transaction takes two ways only.

SQLite keeps what a connection held, locks included, until the last of its statements is gone
(https://www.sqlite.org/c3ref/close.html), and Python's cursors keep those. A call that is cancelled in the middle of a
statement leaves a cursor in its exception's traceback, mostly in a cycle, so that it stays until the garbage collector
comes by. Meanwhile nobody could write, or the log not be emptied, although the connection was closed.

aiosqlite sends each call to a thread, a statement four (cursor, execute, fetch, close). While the event loop has much
to do, the thread waits at each of them for Python's lock: with fifty jobs a second a submit took a tenth of a second,
most of it so. A short transaction therefore goes there for what may have to wait, its BEGIN (somebody else writes) and
its COMMIT (the disk). Between them nobody else can write, readers of a WAL keep nobody up, and a statement that touches
a few rows takes microseconds where it stands.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from weakref import WeakSet

import aiosqlite

_ROWS_AT_ONCE = 64

T = TypeVar("T")


class SQLiteConnection(sqlite3.Connection):
    """Ends its statements with itself."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._cursors: WeakSet[sqlite3.Cursor] = WeakSet()

    def cursor(self, *args: Any, **options: Any) -> Any:
        """A cursor that is closed with the connection; `execute` asks here for its own too."""
        cursor: sqlite3.Cursor = super().cursor(*args, **options)
        self._cursors.add(cursor)
        return cursor

    def close(self) -> None:
        """Undoes what was not committed, and gives up every lock."""
        for cursor in list(self._cursors):
            cursor.close()
        super().close()


class SQLiteWriter(aiosqlite.Connection):
    """The connection that writes; the statements of a short transaction run in the event loop's own thread."""

    def __init__(self, connect: Callable[[], sqlite3.Connection]) -> None:
        super().__init__(connect, _ROWS_AT_ONCE)
        self._thread.daemon = True
        self._short = False

    async def begin(self, statements: Sequence[str], *, short: bool) -> None:
        """Runs these, the last of which begins a transaction; raises sqlite3.Error."""
        await self._execute(self._run, statements)
        self._short = short

    async def commit(self) -> None:
        """Ends the transaction; what it wrote is there."""
        self._short = False
        await super().commit()

    async def rollback(self) -> None:
        """Ends the transaction; nothing of it has happened."""
        self._short = False
        await super().rollback()

    async def close(self) -> None:
        """Ends what is running, and the connection."""
        self._short = False
        await super().close()

    async def _execute(self, fn: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Every call of a connection and its cursors comes here."""
        if self._short:
            return fn(*args, **kwargs)
        done: T = await super()._execute(fn, *args, **kwargs)  # type: ignore[no-untyped-call] # aiosqlite's own
        return done

    def _run(self, statements: Sequence[str]) -> None:
        for statement in statements:
            self._conn.execute(statement).close()
