"""Facts about a service's log."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given
from hypothesis import strategies as st

from bowerbird.embedded.log import MAX_LINE_BYTES, TAIL_LINES, ServiceLog


def lines(log: ServiceLog) -> list[dict[str, object]]:
    log.close()
    return [json.loads(line) for line in log.path.read_text(encoding="utf-8").split("\n") if line]


def test_json_stays_as_it_is_and_text_is_wrapped(tmp_path: Path) -> None:
    log = ServiceLog(tmp_path / "logs", "safety")
    log.write('{"message": "listening", "trace_id": "1"}')
    log.write("Traceback (most recent call last):")
    log.write("{no json")
    log.write("")
    first, second, third = lines(log)
    assert first == {"message": "listening", "trace_id": "1"}
    assert (second["service"], second["message"]) == ("safety", "Traceback (most recent call last):")
    assert third["message"] == "{no json"


@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_whatever_is_printed_the_file_is_json_lines(text: str) -> None:
    with TemporaryDirectory() as folder:
        log = ServiceLog(Path(folder), "safety")
        for line in text.splitlines():
            log.write(line)
        assert all(isinstance(line, dict) for line in lines(log))


def test_the_tail_is_for_people(tmp_path: Path) -> None:
    log = ServiceLog(tmp_path, "safety")
    for number in range(100):
        log.write(f"line {number}")
    log.write(json.dumps({"level": "ERROR", "message": "it broke", "exc_info": "Traceback\nValueError: no"}))
    log.close()
    assert len(log.tail) == TAIL_LINES
    assert log.tail[-3:] == ["ERROR it broke", "Traceback", "ValueError: no"]


async def test_a_line_without_an_end_does_not_fill_the_memory(tmp_path: Path) -> None:
    log = ServiceLog(tmp_path, "safety")
    reader = asyncio.StreamReader(limit=MAX_LINE_BYTES)
    reader.feed_data(b"x" * (MAX_LINE_BYTES + 1) + b"\nafter\n")
    reader.feed_eof()
    await log.copy(reader)
    first, second = lines(log)
    assert first["message"] == f"(a line longer than {MAX_LINE_BYTES} bytes was dropped)"
    assert second["message"] == "after"
