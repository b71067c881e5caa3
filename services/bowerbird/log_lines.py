"""Log records as lines of JSON: time, level, logger, message, service, trace, and what the record says beside it.

`telemetry.set_up_telemetry` gives it to the handler of every process. Written for a line a request: a general formatter
takes several times as long, and the standard library looks up thread, process and caller for each record although no
line of ours has them.

Lines of level INFO and below are written together (`TogetherHandler`), so that a thousand requests a second are twenty
writes and not a thousand. Whatever is worse is written at once, after what came before it. A process that is killed
loses the last WRITE_SECONDS of the harmless ones.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from typing import TextIO

from opentelemetry import trace
from pydantic_core import to_json

WRITE_SECONDS = 0.05
FACTS = "facts of the record"
"""In a record of `record_of`: what it says beside its message."""

_ROOT = logging.getLogger("bowerbird")
"""Looked up once: a look-up takes a lock, and every request has a line."""
_EMPTY = vars(logging.makeLogRecord({"levelno": logging.INFO, "levelname": "INFO"}))
_OF_EVERY_RECORD = frozenset(_EMPTY) | {"message", "asctime", "taskName", FACTS}


class JsonLines(logging.Formatter):
    """One JSON object a record; what was given as `extra` stands beside the message by its own name."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service
        self._second = 0
        self._time = ""

    def line_of(self, logger: str, message: str, facts: Mapping[str, object]) -> str:
        """What a record of level INFO would become, without the record; the trace stands in `facts`."""
        now = time.time()
        head = {"time": self._written(now), "level": "INFO", "logger": logger, "message": message}
        return to_json({**head, "service": self._service, **facts}, fallback=str).decode()

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        line: dict[str, object] = {
            "time": self._written(record.created),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "service": self._service,
        }
        span = trace.get_current_span().get_span_context()
        if span.is_valid:
            line["trace_id"], line["span_id"] = f"{span.trace_id:032x}", f"{span.span_id:016x}"
        if (facts := getattr(record, FACTS, None)) is not None:
            line |= facts
        else:
            line |= {name: value for name, value in vars(record).items() if name not in _OF_EVERY_RECORD}
        if record.exc_info:
            line["exc_info"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack_info"] = self.formatStack(record.stack_info)
        try:
            return to_json(line, bytes_mode="base64", fallback=str).decode()
        except ValueError:  # text that is no text (a lone surrogate): the standard library escapes it, and takes longer
            return json.dumps(line, default=str)

    def _written(self, created: float) -> str:
        """RFC 3339 in UTC, to the millisecond; the second is written once for all records in it."""
        second = int(created)
        if second != self._second:
            self._second, self._time = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._time}.{int((created - second) * 1000):03}Z"


class TogetherHandler(logging.StreamHandler[TextIO]):
    """Writes to a stream what came within WRITE_SECONDS in one go; formatted when it came, in its own context."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._lines: list[str] = []
        self._came = threading.Event()
        self._closed = False
        self._writing = threading.Thread(target=self._write_again_and_again, name="log", daemon=True)
        self._writing.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Has the record's line written soon, or at once where it is worse than INFO."""
        try:
            self.add(self.format(record))
            if record.levelno > logging.INFO:
                self.flush()
        except Exception:  # as any handler: who logs is not to fail for it
            self.handleError(record)

    def add(self, line: str) -> None:
        """Has a line written soon."""
        self._lines.append(line + self.terminator)
        if self._closed:
            self.flush()
        elif not self._came.is_set():
            self._came.set()

    def flush(self) -> None:
        """Writes what waits."""
        with self.lock or nullcontext():
            lines, self._lines = self._lines, []
            if lines:
                self.stream.write("".join(lines))
                self.stream.flush()

    def close(self) -> None:
        """Writes what waits, and from now on everything at once; the standard library does so when the process ends.

        The thread has ended then: one that still wrote while the interpreter ends would end it with an error.
        """
        self._closed = True
        self._came.set()
        self._writing.join(1.0)
        self.flush()
        super().close()

    def _write_again_and_again(self) -> None:
        while not self._closed:
            self._came.wait()
            time.sleep(WRITE_SECONDS)
            self._came.clear()
            with suppress(OSError, ValueError):  # nobody reads it any more
                self.flush()


def say(logger: logging.Logger, message: str, facts: Mapping[str, object]) -> None:
    """Writes the line that every request has; its trace stands in `facts`.

    Where nobody but our own handler would read the record (in a test somebody does), there is none: to make it and to
    hand it on takes longer than the line.
    """
    if not logger.isEnabledFor(logging.INFO):
        return
    handler = _ROOT.handlers[0] if len(_ROOT.handlers) == 1 else None
    if isinstance(handler, TogetherHandler) and isinstance(handler.formatter, JsonLines) and not logger.handlers:
        handler.add(handler.formatter.line_of(logger.name, message, facts))
    else:
        logger.handle(record_of(logger.name, message, facts))


def record_of(logger: str, message: str, facts: Mapping[str, object]) -> logging.LogRecord:
    """A record of level INFO with `facts` beside its message, for `Logger.handle`.

    As `Logger.makeRecord` makes it, but that nothing is looked up which no line of ours has (file, thread, process).
    """
    record = logging.LogRecord.__new__(logging.LogRecord)
    record.__dict__ = {**_EMPTY, "name": logger, "msg": message, "created": time.time(), **facts, FACTS: facts}
    return record


def set_up_log_lines(service: str, level: str) -> None:
    """Has everything below the logger `bowerbird` written to standard error as such lines."""
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    handler = TogetherHandler(sys.stderr)
    handler.setFormatter(JsonLines(service))
    _ROOT.handlers = [handler]
    _ROOT.setLevel(level)
    _ROOT.propagate = False
