"""A long row in slices: each measurement is kept as it is made, so that a run may stop and go on where it stopped.

For rows that need the machine to themselves for longer than it is ever idle. What is kept is good for the facts it was
measured under (sources, bundle, machine, lengths): they name its file in the cache. A row that is whole is forgotten
here; `record` has it then.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.engine import environments
from benchmarks.engine.record import SAME_MACHINE
from benchmarks.results import machine
from bowerbird.engine.bundle import digest_of

SOURCES = ("benchmarks/engine", "services/bowerbird/engine", "services/bowerbird/text_to_image")
"""What is measured, and what measures it."""


class TimeIsUp(Exception):
    """The next slice would take longer than was allowed; the same command goes on with it."""


class Slices:
    """Measurements by name; `facts` are those that the sources and the machine do not say."""

    def __init__(self, row: str, facts: Mapping[str, Any], seconds: float) -> None:
        """`seconds` is what this run may take."""
        here = machine()
        known = {**facts, "sources": _sources(), "machine": {fact: here[fact] for fact in SAME_MACHINE}}
        name = hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:16]
        self._path = environments.CACHE / "slices" / f"{row}-{name}.json"
        self._kept: dict[str, Any] = json.loads(self._path.read_text()) if self._path.exists() else {}
        self._until = time.monotonic() + seconds
        self._measured = 0

    def get(self, name: str, measure: Callable[[], Any], seconds: float) -> Any:
        """What was measured, now or before, as JSON gives it back; `seconds` is about how long it takes.

        Raises TimeIsUp when there is not so much time, but for the first of a run: every run gets on.
        """
        if name not in self._kept:
            if self._measured and time.monotonic() + seconds > self._until:
                raise TimeIsUp(f"{len(self._kept)} slices are kept, {name} is next")
            self._kept[name] = json.loads(json.dumps(measure()))
            self._measured += 1
            self._path.parent.mkdir(parents=True, exist_ok=True)
            beside = self._path.with_suffix(".part")
            beside.write_text(json.dumps(self._kept))
            beside.replace(self._path)
        return self._kept[name]

    def forget(self) -> None:
        """The row is whole."""
        self._path.unlink(missing_ok=True)


def _sources() -> str:
    files = sorted(path for folder in SOURCES for path in (environments.ROOT / folder).rglob("*") if _counts(path))
    return hashlib.sha256("".join(map(digest_of, files)).encode()).hexdigest()


def _counts(path: Path) -> bool:
    return path.suffix in {".py", ".txt"}
