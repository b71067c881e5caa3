"""SQLite's connection as `database` opens it: closed, it holds nothing.

SQLite keeps what a connection held, locks included, until the last of its statements is gone
(https://www.sqlite.org/c3ref/close.html), and Python's cursors keep those. A call that is cancelled in the middle of a
statement leaves a cursor in its exception's traceback, mostly in a cycle, so that it stays until the garbage collector
comes by. Meanwhile nobody could write, or the log not be emptied, although the connection was closed.
"""

from __future__ import annotations

import sqlite3
from typing import Any
from weakref import WeakSet


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
