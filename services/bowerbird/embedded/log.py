"""A service's log: what it prints becomes JSON lines in a file, and its last lines stay at hand.

Our own services print JSON; libraries, BentoML's master and a dying interpreter print whatever they like. Each line
that is not a JSON object is wrapped into one, so that one tool reads all of it. Files are rotated by size: a stack may
run for weeks; and by age: lines hold ids of requests and tenants, and none is kept for more than 14 days.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from datetime import UTC, datetime
from logging import INFO, LogRecord
from logging.handlers import RotatingFileHandler
from pathlib import Path

MAX_FILE_BYTES = 10 * 1024 * 1024
MAX_FILE_DAYS = 7
"""A file begins anew then at the latest, and the one before it goes: no line is kept for more than twice as long."""
LOOK_SECONDS = 3600.0
"""How often a log is looked after into which nothing is written."""
MAX_LINE_BYTES = 1024 * 1024
TAIL_LINES = 12


class ServiceLog:
    """Writes `<folder>/<service>.log` (and one older `.log.1`) and remembers the last lines for people."""

    def __init__(self, folder: Path, service: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"{service}.log"
        self._service = service
        self._file = RotatingFileHandler(self.path, maxBytes=MAX_FILE_BYTES, backupCount=1, encoding="utf-8")
        self._begun = _begun(self.path)
        self.turn_over()
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)

    @property
    def tail(self) -> list[str]:
        """The last lines, oldest first, without the JSON around them."""
        return list(self._tail)

    async def copy(self, output: asyncio.StreamReader) -> None:
        """Copies a process' output until it ends; the tail begins anew."""
        self._tail.clear()
        while True:
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    line = await output.readline()
            except TimeoutError:
                self.turn_over()
                continue
            except ValueError:  # longer than MAX_LINE_BYTES: the reader has dropped it
                line = f"(a line longer than {MAX_LINE_BYTES} bytes was dropped)\n".encode()
            if not line:
                return
            self.write(line.decode("utf-8", errors="replace").rstrip())

    def write(self, line: str) -> None:
        """Adds one line, wrapped unless it is a JSON object already."""
        if not line:
            return
        fields = _json_object(line)
        if fields is None:
            now = datetime.now(UTC).isoformat(timespec="milliseconds")
            fields = {"time": now, "service": self._service, "message": line}
            line = json.dumps(fields, ensure_ascii=False)
        self._tail.extend(_for_people(fields)[-TAIL_LINES:])
        self.turn_over()
        self._file.emit(LogRecord(self._service, INFO, "", 0, line, None, None))

    def turn_over(self) -> None:
        """Begins a new file when this one is old; the one before it goes."""
        if time.time() - self._begun < MAX_FILE_DAYS * 86_400:
            return
        self._file.doRollover()
        self._begun = time.time()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def _begun(file: Path) -> float:
    """When the first line of a log was written; now, where it has none that says so."""
    with file.open(encoding="utf-8", errors="replace") as lines:
        fields = _json_object(lines.readline(MAX_LINE_BYTES).rstrip()) or {}
    try:
        return datetime.fromisoformat(str(fields.get("time"))).timestamp()
    except ValueError:
        return time.time()


def _json_object(line: str) -> dict[str, object] | None:
    if not line.startswith("{"):
        return None
    try:
        fields = json.loads(line)
    except ValueError:
        return None
    return fields if isinstance(fields, dict) else None


def _for_people(fields: dict[str, object]) -> list[str]:
    text = " ".join(str(fields[key]) for key in ("level", "message") if key in fields)
    trace = str(fields.get("exc_info", ""))
    return (text + ("\n" + trace if trace else "")).splitlines()
