"""HTTP/1.1 to the stages over real sockets: what is kept, what is closed, and who waits for whom."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bowerbird.gateway import connections as module

from .raw_stage import OK, always, closing, endless, get, read_chunked, silent, stage


async def test_a_request_says_what_it_was_given() -> None:
    said: list[bytes] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        said.append(await reader.readuntil(b"\r\n\r\n") + await reader.readexactly(4))
        writer.write(OK)

    async with stage(handle) as (_, url, connections):
        answer = await connections.send("POST", url + "/draw", {"Bowerbird-Flow": "f"}, b"body")
        async with answer:
            assert (answer.status, answer.headers["bowerbird-service"]) == (200, "stage/1")
            assert await answer.read() == b"bird"
    host = url.removeprefix("http://")
    assert said == [
        f"POST /draw HTTP/1.1\r\nHost: {host}\r\nBowerbird-Flow: f\r\nContent-Length: 4\r\n\r\nbody".encode()
    ]


async def test_an_answer_that_was_read_leaves_its_connection_for_the_next_request() -> None:
    async with stage(always(OK, OK, OK)) as (serving, url, connections):
        assert [await get(connections, url) for _ in range(3)] == [b"bird"] * 3
        assert serving.accepted == 1


async def test_requests_at_the_same_time_have_connections_of_their_own() -> None:
    async with stage(always(OK)) as (serving, url, connections):
        assert await asyncio.gather(*(get(connections, url) for _ in range(3))) == [b"bird"] * 3
        assert serving.accepted == 3


@pytest.mark.parametrize(
    "answer",
    [
        OK.replace(b"Content-Length", b"Connection: close\r\nContent-Length"),
        OK + b"surplus",
        OK + OK,
        OK.replace(b"Content-Length: 4\r\n", b""),
    ],
    ids=["close", "surplus", "two answers", "ends with its connection"],
)
async def test_a_connection_that_cannot_be_used_again_is_not(answer: bytes) -> None:
    async with stage(closing(answer)) as (serving, url, connections):
        assert await get(connections, url) == b"bird"
        assert await get(connections, url) == b"bird"
        assert serving.accepted == 2


async def test_a_connection_that_the_stage_closed_meanwhile_is_not_used() -> None:
    async with stage(closing(OK)) as (serving, url, connections):
        for accepted in (1, 2):
            await get(connections, url)
            await asyncio.sleep(0.01)
            assert serving.accepted == accepted


async def test_a_connection_that_was_idle_too_long_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    async with stage(always(OK, OK)) as (serving, url, connections):
        await get(connections, url)
        monkeypatch.setattr(module, "KEEP_ALIVE_SECONDS", 0.0)
        await get(connections, url)
        assert serving.accepted == 2
        async with asyncio.timeout(60):
            await serving.left.wait()


async def test_an_answer_that_is_not_read_to_its_end_closes_its_connection() -> None:
    async with stage(always(OK)) as (serving, url, connections):
        async with await connections.send("GET", url, {}):
            pass
        async with asyncio.timeout(60):
            await serving.left.wait()


async def test_whoever_is_cancelled_hangs_up() -> None:
    async with stage(always(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbird\r\n")) as parts:
        serving, url, connections = parts
        reading = asyncio.create_task(get(connections, url))
        await asyncio.sleep(0.02)
        reading.cancel()
        async with asyncio.timeout(60):
            await serving.left.wait()
        with pytest.raises(asyncio.CancelledError):
            await reading


@settings(max_examples=20)
@given(pieces=st.lists(st.binary(max_size=40_000), max_size=5))
async def test_pieces_that_are_all_there_are_sent_as_one_body_of_their_length(pieces: list[bytes]) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            head = await reader.readuntil(b"\r\n\r\n")
            assert b"Content-Length: %d\r\n" % length in head
            writer.write(head.partition(b"\r\n")[0].replace(b"POST / HTTP/1.1", b"HTTP/1.1 200 OK") + b"\r\n")
            writer.write(b"Content-Length: %d\r\n\r\n" % length + await reader.readexactly(length))

    length = sum(map(len, pieces))
    async with stage(echo) as (serving, url, connections):
        for _ in range(2):
            async with await connections.send("POST", url, {}, pieces) as answer:
                assert await answer.read() == b"".join(pieces)
        assert serving.accepted == 1


async def test_pieces_that_are_all_there_are_sent_again_where_the_kept_connection_was_closed_just_then() -> None:
    bodies: list[bytes] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        bodies.append(await reader.readexactly(8))
        writer.write(OK)
        if serving.accepted == 1:  # takes the next request, and is gone
            await reader.readuntil(b"\r\n\r\n")
            writer.transport.abort()

    async with stage(handle) as (serving, url, connections):
        for _ in range(2):
            async with await connections.send("POST", url, {}, [b"bird", b"song"]) as answer:
                assert await answer.read() == b"bird"
        assert (bodies, serving.accepted) == ([b"birdsong"] * 2, 2)


async def test_an_answer_to_a_body_that_was_not_taken_yet_leaves_no_connection_to_use_again() -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK.replace(b"200 OK", b"413 No"))
        await writer.drain()
        await asyncio.Event().wait()  # and reads nothing more

    async with stage(refuse) as (serving, url, connections):
        for accepted in (1, 2):
            async with await connections.send("POST", url, {}, [b"x" * 32_000_000]) as answer:
                assert (answer.status, await answer.read()) == (413, b"bird")
            assert serving.accepted == accepted


@settings(max_examples=20)
@given(pieces=st.lists(st.binary(max_size=40_000), max_size=5))
async def test_any_pieces_arrive_in_both_directions(pieces: list[bytes]) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"Transfer-Encoding: chunked" in head
        body = await read_chunked(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        if body:
            writer.write(b"%x\r\n%b\r\n" % (len(body), body))
        writer.write(b"0\r\n\r\n")

    async def sent() -> AsyncGenerator[bytes]:
        for piece in pieces:
            yield piece

    async with stage(echo) as (_, url, connections), await connections.send("POST", url, {}, sent()) as answer:
        assert await answer.read() == b"".join(pieces)


async def test_an_answer_may_come_before_the_body_was_sent() -> None:
    ended = asyncio.Event()

    async def body() -> AsyncGenerator[bytes]:
        try:
            async for piece in endless():
                yield piece
        finally:
            ended.set()

    async with stage(always(OK.replace(b"200 OK", b"413 No"))) as (serving, url, connections):
        async with await connections.send("POST", url, {}, body()) as answer:
            assert answer.status == 413
            assert await answer.read() == b"bird"
        async with asyncio.timeout(60):
            await ended.wait()
        assert serving.accepted == 1


async def test_an_error_of_the_body_is_raised_as_it_is() -> None:
    async def body() -> AsyncGenerator[bytes]:
        yield b"some"
        raise LookupError("no more frames")

    async with stage(always(OK)) as (serving, url, connections):
        serving._handle = silent
        with pytest.raises(LookupError, match="no more frames"):
            await connections.send("POST", url, {}, body())
        async with asyncio.timeout(60):
            await serving.left.wait()


async def test_a_stage_that_reads_slowly_is_not_flooded() -> None:
    sent = 0

    async def body() -> AsyncGenerator[bytes]:
        nonlocal sent
        async for piece in endless():
            sent += len(piece)
            yield piece

    async def handle(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await asyncio.sleep(30)

    async with stage(handle) as (_, url, connections):
        sending = asyncio.create_task(connections.send("POST", url, {}, body()))
        await _settled(lambda: sent)
        assert sent < 64 * 1024 * 1024
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending


async def test_an_answer_that_is_read_slowly_waits_in_the_stage() -> None:
    written = 0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (256 * 1024 * 1024))
        while True:
            writer.write(b"x" * 65_536)
            await writer.drain()
            written += 65_536

    async with stage(handle) as (_, url, connections), await connections.send("GET", url, {}) as answer:
        await _settled(lambda: written)
        assert written < 64 * 1024 * 1024
        before, read = written, 0
        while (piece := await answer.piece()) is not None:
            read += len(piece)
            if written > before and read > before:
                break


async def _settled(count: Callable[[], int]) -> None:
    """Until a count does not grow any more."""
    last = -math.inf
    while last < count():
        last = count()
        await asyncio.sleep(0.05)
