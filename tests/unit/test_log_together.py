"""Harmless lines are written together, and none of them is late or lost when it matters."""

from __future__ import annotations

import io
import logging
import time
from collections.abc import Iterator

import pytest

from bowerbird.log_lines import TogetherHandler, record_of


class Stream(io.StringIO):
    """Counts what is written in one go."""

    def __init__(self) -> None:
        super().__init__()
        self.writes = 0

    def write(self, text: str) -> int:
        self.writes += 1
        return super().write(text)


@pytest.fixture
def stream() -> Stream:
    return Stream()


@pytest.fixture
def handler(stream: Stream) -> Iterator[TogetherHandler]:
    made = TogetherHandler(stream)
    yield made
    made.close()


def say(handler: TogetherHandler, message: str, level: int = logging.INFO) -> None:
    record = record_of("bowerbird.test", message, {})
    record.levelno = level
    handler.handle(record)


def test_what_comes_at_the_same_time_is_written_in_one_go(handler: TogetherHandler, stream: Stream) -> None:
    for number in range(100):
        say(handler, str(number))
    while not stream.writes:
        time.sleep(0.005)
    assert stream.getvalue().split() == [str(number) for number in range(100)]
    assert stream.writes == 1


def test_a_warning_is_written_at_once_and_in_its_place(handler: TogetherHandler, stream: Stream) -> None:
    say(handler, "before")
    say(handler, "warning", logging.WARNING)
    assert stream.getvalue().split() == ["before", "warning"]


def test_a_process_that_ends_has_written_everything(handler: TogetherHandler, stream: Stream) -> None:
    say(handler, "last")
    handler.close()
    say(handler, "after")
    assert stream.getvalue().split() == ["last", "after"]


def test_a_stream_that_nobody_reads_fails_nobody(handler: TogetherHandler, stream: Stream, capsys: object) -> None:
    stream.close()
    say(handler, "lost", logging.WARNING)
