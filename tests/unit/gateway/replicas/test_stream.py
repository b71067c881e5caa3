"""Lines both ways: nothing is lost or torn, and who is not heard is taken for dead."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bowerbird.gateway.replicas import stream
from bowerbird.gateway.replicas.messages import Beat, Leave
from bowerbird.gateway.replicas.stream import Outbox, Silence, heard

BEAT = Beat().line()


async def chunks(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


@given(lines=st.lists(st.binary(min_size=1).filter(lambda line: b"\n" not in line)), cuts=st.lists(st.integers(1, 9)))
def test_lines_are_the_same_however_they_are_cut(lines: list[bytes], cuts: list[int]) -> None:
    sent, pieces = b"".join(line + b"\n" for line in lines), []
    for cut in cuts:
        piece, sent = sent[:cut], sent[cut:]
        pieces.append(piece)

    async def listened() -> list[bytes]:
        return [line async for line in heard(chunks(*pieces, sent))]

    assert asyncio.run(listened()) == lines


async def test_what_is_said_is_heard_in_its_order_after_a_beat() -> None:
    outbox = Outbox(Beat)
    said = outbox.chunks()
    assert await anext(said) == BEAT
    messages = [Leave(ticket_id=str(number)) for number in range(3)]
    for message in messages:
        outbox.put(message)
    assert await anext(said) == b"".join(message.line() for message in messages)


async def test_who_has_nothing_to_say_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "BEAT_SECONDS", 0.01)
    said = Outbox(Beat).chunks()
    assert [await anext(said) for _ in range(3)] == [BEAT] * 3


async def test_silence_is_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    async def falling_silent() -> AsyncIterator[bytes]:
        yield BEAT
        await asyncio.Event().wait()

    lines = heard(falling_silent())
    assert await anext(lines) == BEAT.strip()
    monkeypatch.setattr(stream, "SILENCE_SECONDS", 0.05)
    with pytest.raises(Silence):
        await anext(lines)


async def test_who_was_stopped_does_not_hear_what_lay_there_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "SILENCE_SECONDS", 0.05)

    async def old() -> AsyncIterator[bytes]:
        time.sleep(0.1)  # noqa: ASYNC251 - the whole process stands still
        yield BEAT

    with pytest.raises(Silence):
        await anext(heard(old()))


async def test_a_line_without_an_end_is_not_kept_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "MAX_LINE_BYTES", 10)
    with pytest.raises(Silence):
        await anext(heard(chunks(b"x" * 11)))
