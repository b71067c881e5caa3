"""Rows that did not become what was asked for, in a CSV beside the table: line, column, id, status, code, message.

No name of the table stands in it. It is made at the first problem and written line by line, so that it is right when
the run is killed; a run without problems leaves none.
"""

from __future__ import annotations

import csv
from pathlib import Path
from types import TracebackType
from typing import IO, Self

HEADER = ("line", "column", "id", "status", "code", "message")


class ProblemFile:
    """The file; what an earlier run left there is removed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0
        self._opened: IO[str] | None = None

    def __enter__(self) -> Self:
        """Itself; raises OSError where the file cannot be written."""
        self.path.unlink(missing_ok=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Closes it."""
        if self._opened is not None:
            self._opened.close()

    def write(self, *fields: object) -> None:
        """One problem, in the order of HEADER; None is an empty field."""
        if self._opened is None:
            self._opened = self.path.open("w", encoding="utf-8", newline="")
            csv.writer(self._opened).writerow(HEADER)
        csv.writer(self._opened).writerow(["" if field is None else field for field in fields])
        self._opened.flush()
        self.count += 1
