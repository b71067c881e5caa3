"""Facts about a service's log."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
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


def test_no_line_is_kept_for_more_than_two_weeks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1_795_262_400.0]
    monkeypatch.setattr("bowerbird.embedded.log.time.time", lambda: now[0])
    kept = []
    for day in range(30):
        log = ServiceLog(tmp_path, "safety")  # one stack after the other, as on a laptop
        when = datetime.fromtimestamp(now[0], UTC).isoformat()
        log.write(json.dumps({"time": when, "message": f"day {day}"}))
        log.close()
        said = "".join(file.read_text() for file in tmp_path.iterdir())
        kept.append([number for number in range(30) if f'"day {number}"' in said])
        now[0] += 86_400
    assert all(day - days[0] < 14 for day, days in enumerate(kept))
    assert all(days == list(range(days[0], day + 1)) for day, days in enumerate(kept))


def said_in(folder: Path, word: str) -> bool:
    return any(word in file.read_text() for file in folder.iterdir() if file.exists())


async def test_a_log_into_which_nothing_is_written_ends_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bowerbird.embedded.log.LOOK_SECONDS", 0.01)
    log = ServiceLog(tmp_path, "safety")
    log.write("once")
    monkeypatch.setattr("bowerbird.embedded.log.MAX_FILE_DAYS", 0)
    reader = asyncio.StreamReader()
    copying = asyncio.create_task(log.copy(reader))
    async with asyncio.timeout(60):
        while await asyncio.to_thread(said_in, tmp_path, "once"):  # noqa: ASYNC110 - files tell nobody
            await asyncio.sleep(0.01)
    reader.feed_eof()
    await copying
    log.close()


async def test_a_line_without_an_end_does_not_fill_the_memory(tmp_path: Path) -> None:
    log = ServiceLog(tmp_path, "safety")
    reader = asyncio.StreamReader(limit=MAX_LINE_BYTES)
    reader.feed_data(b"x" * (MAX_LINE_BYTES + 1) + b"\nafter\n")
    reader.feed_eof()
    await log.copy(reader)
    first, second = lines(log)
    assert first["message"] == f"(a line longer than {MAX_LINE_BYTES} bytes was dropped)"
    assert second["message"] == "after"
