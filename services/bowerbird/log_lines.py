"""Log records as lines of JSON: time, level, logger, message, service, trace, and what the record says beside it.

`telemetry.set_up_telemetry` gives it to the handler of every process. Written for a line a request: a general formatter
takes several times as long, and the standard library looks up thread, process and caller for each record although no
line of ours has them.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Mapping

from opentelemetry import trace
from pydantic_core import to_json

_EMPTY = vars(logging.makeLogRecord({"levelno": logging.INFO, "levelname": "INFO"}))
_OF_EVERY_RECORD = frozenset(_EMPTY) | {"message", "asctime", "taskName"}


class JsonLines(logging.Formatter):
    """One JSON object a record; what was given as `extra` stands beside the message by its own name."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service
        self._second = 0
        self._time = ""

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
        for name, value in vars(record).items():
            if name not in _OF_EVERY_RECORD:
                line[name] = value
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


def record_of(logger: str, message: str, facts: Mapping[str, object]) -> logging.LogRecord:
    """A record of level INFO with `facts` beside its message, for `Logger.handle`.

    As `Logger.makeRecord` makes it, but that nothing is looked up which no line of ours has (file, thread, process):
    for the line that every request has, a tenth of the time.
    """
    record = logging.LogRecord.__new__(logging.LogRecord)
    record.__dict__ = {**_EMPTY, "name": logger, "msg": message, "created": time.time(), **facts}
    return record


def set_up_log_lines(service: str, level: str) -> None:
    """Has everything below the logger `bowerbird` written to standard error as such lines."""
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(service))
    root = logging.getLogger("bowerbird")
    root.handlers = [handler]
    root.setLevel(level)
    root.propagate = False
