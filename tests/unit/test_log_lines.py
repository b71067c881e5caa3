"""Log records as lines of JSON."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import context, trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from bowerbird.log_lines import JsonLines


def record(message: str = "asked", **extra: Any) -> logging.LogRecord:
    return logging.getLogger("bowerbird.test").makeRecord(
        "bowerbird.test", logging.INFO, __file__, 1, message, (), None, None, extra
    )


def line(of: logging.LogRecord) -> dict[str, Any]:
    written = JsonLines("a-service").format(of)
    assert "\n" not in written
    found: dict[str, Any] = json.loads(written)
    return found


def test_what_a_record_says_beside_its_message_stands_beside_it() -> None:
    said = line(record(route="/v1/jobs", status=200))
    time = said.pop("time")
    assert said == {
        "level": "INFO", "logger": "bowerbird.test", "message": "asked", "service": "a-service",
        "route": "/v1/jobs", "status": 200,
    }  # fmt: skip
    assert time.endswith("Z")
    assert abs((datetime.now(UTC) - datetime.fromisoformat(time)).total_seconds()) < 60


@pytest.mark.parametrize("created", [0.0, 59.9996, 1_790_000_000.123_9, 1_790_000_000.999_999])
def test_a_time_is_never_in_the_future_of_its_record(created: float) -> None:
    lines, of = JsonLines("a-service"), record()
    for moment in (created + 1, created):  # a clock may step back between two records
        of.created = moment
        written = datetime.fromisoformat(json.loads(lines.format(of))["time"]).timestamp()
        assert 0 <= moment - written < 0.002


def test_arguments_are_put_into_the_message() -> None:
    of = record("stage %s is %s")
    of.args = ("safety", "ready")
    assert line(of)["message"] == "stage safety is ready"


def test_the_trace_stands_in_the_line_only_inside_of_one() -> None:
    assert "trace_id" not in line(record())
    span = NonRecordingSpan(SpanContext(0xA, 0xB, is_remote=False, trace_flags=TraceFlags(0)))
    token = context.attach(trace.set_span_in_context(span))
    try:
        said = line(record())
    finally:
        context.detach(token)
    assert (said["trace_id"], said["span_id"]) == (f"{0xA:032x}", f"{0xB:016x}")


def test_an_exception_is_written_with_its_stack() -> None:
    of = record()
    try:
        raise ValueError("no bird")
    except ValueError:
        of.exc_info = sys.exc_info()
    assert "ValueError: no bird" in line(of)["exc_info"]


def test_what_json_does_not_know_is_written_as_text() -> None:
    assert line(record(path=Path("/nest")))["path"] == "/nest"
