"""`benchmarks/results/engine.json`, row by row: a run of hours can be stopped and taken up again.

A row that was measured on this machine at this commit is kept; another machine's or commit's is measured again, and so
is one that lacks a figure: what was missing may be here now.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.report import Row
from benchmarks.results import commit, machine

SAME_MACHINE = ("processor", "cores", "memory_gib")


class Record:
    """The file; written after every row."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._machine, self._commit = machine(), commit()
        self._rows: dict[str, Any] = json.loads(path.read_text())["rows"] if path.exists() else {}

    def kept(self, row: str) -> list[Row] | None:
        """What was measured here at this commit, whole, or None."""
        entry = self._rows.get(row)
        if entry is None or entry["commit"] != self._commit or not self._is_here(entry["machine"]):
            return None
        lines = [Row(**line) for line in entry["lines"]]
        return lines if all(line.figure is not None for line in lines) else None

    def put(self, row: str, lines: Sequence[Row]) -> None:
        """Keeps a row and writes the file."""
        self._rows[row] = {
            "machine": self._machine,
            "commit": self._commit,
            "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M"),
            "lines": [asdict(line) for line in lines],
        }
        self._path.parent.mkdir(parents=True, exist_ok=True)
        ordered = dict(sorted(self._rows.items()))
        self._path.write_text(json.dumps({"rows": ordered}, indent=2) + "\n")

    def _is_here(self, other: dict[str, Any]) -> bool:
        return all(other.get(fact) == self._machine[fact] for fact in SAME_MACHINE)
