"""HTTP/1.1 to the stages over real sockets: what is kept, what is closed, and what a broken stage may do."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bowerbird.gateway import connections as module
from bowerbird.gateway.connections import BrokenOff, Connections, Unreachable, open_connections

Handle = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nBowerbird-Service: stage/1\r\n\r\nbird"


class Stage:
    """A server that does what a test says with each connection; `accepted` counts them."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self.accepted = 0
        self.left = asyncio.Event()
        """A client has closed its connection."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                await self._handle(reader, writer)
                await reader.read()
            self.left.set()
        finally:
            writer.close()


@asynccontextmanager
async def stage(handle: Handle) -> AsyncIterator[tuple[Stage, str, Connections]]:
    serving, tasks = Stage(handle), set[asyncio.Task[None]]()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.create_task(serving.serve(reader, writer)))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        async with open_connections() as connections:
            yield serving, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", connections
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def always(*answers: bytes) -> Handle:
    """Each request without a body gets the next answer, in pieces of its own."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()

    return handle


def closing(answer: bytes) -> Handle:
    """The answer, and nothing more."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    return handle


async def read_chunked(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int(await reader.readline(), 16):
        body += await reader.readexactly(size)
        await reader.readline()
    await reader.readline()
    return body


async def get(connections: Connections, url: str) -> bytes:
    async with await connections.send("GET", url + "/readyz", {}) as answer:
        assert answer.status == 200
        return await answer.read()


async def endless() -> AsyncGenerator[bytes]:
    while True:
        yield b"x" * 65_536
        await asyncio.sleep(0)


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
        async with asyncio.timeout(5):
            await serving.left.wait()


async def test_an_answer_that_is_not_read_to_its_end_closes_its_connection() -> None:
    async with stage(always(OK)) as (serving, url, connections):
        async with await connections.send("GET", url, {}):
            pass
        async with asyncio.timeout(5):
            await serving.left.wait()


async def test_whoever_is_cancelled_hangs_up() -> None:
    async with stage(always(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbird\r\n")) as parts:
        serving, url, connections = parts
        reading = asyncio.create_task(get(connections, url))
        await asyncio.sleep(0.02)
        reading.cancel()
        async with asyncio.timeout(5):
            await serving.left.wait()
        with pytest.raises(asyncio.CancelledError):
            await reading


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
        async with asyncio.timeout(5):
            await ended.wait()
        assert serving.accepted == 1


async def test_an_error_of_the_body_is_raised_as_it_is() -> None:
    async def body() -> AsyncGenerator[bytes]:
        yield b"some"
        raise LookupError("no more frames")

    async with stage(always(OK)) as (serving, url, connections):
        serving._handle = _silent
        with pytest.raises(LookupError, match="no more frames"):
            await connections.send("POST", url, {}, body())
        async with asyncio.timeout(5):
            await serving.left.wait()


async def _silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")


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
        async for piece in answer.pieces():
            read += len(piece)
            if written > before and read > before:
                break


async def _settled(count: Callable[[], int]) -> None:
    """Until a count does not grow any more."""
    last = -math.inf
    while last < count():
        last = count()
        await asyncio.sleep(0.05)


async def test_where_nobody_listens_is_unreachable() -> None:
    async with stage(_silent) as (_, url, _), open_connections() as connections:
        pass
    with pytest.raises(Unreachable):
        await connections.send("GET", url, {})


async def test_what_does_not_speak_tls_is_unreachable_by_https() -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"what?")

    async with stage(handle) as (_, url, connections):
        with pytest.raises(Unreachable):
            await connections.send("GET", url.replace("http:", "https:"), {})


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200", b"SSH-2.0-OpenSSH\r\n", OK[:-1], b"HTTP/1.1 2x0 OK\r\n\r\n"])
async def test_an_answer_that_ends_early_is_broken_off(answer: bytes) -> None:
    async with stage(closing(answer)) as (_, url, connections):
        with pytest.raises(BrokenOff):
            await get(connections, url)


@pytest.mark.parametrize("line", [b"X: " + b"x" * 1_000 + b"\r\n", b"x" * 1_000])
async def test_a_head_without_an_end_is_given_up(line: bytes) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nA: ")
        while True:
            writer.write(line)
            await writer.drain()

    async with stage(handle) as (_serving, url, connections):
        with pytest.raises(BrokenOff, match="longer than"):
            await connections.send("GET", url, {})


class TestTheStageClosesAKeptConnectionJustAsItIsUsed:
    """Which the client notices only when no answer comes."""

    @staticmethod
    async def _once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        await reader.readuntil(b"\r\n\r\n")  # the second request has been read, and is not answered
        writer.close()

    async def test_what_was_sent_whole_is_sent_again(self) -> None:
        async with stage(self._once) as (serving, url, connections):
            assert [await get(connections, url) for _ in range(2)] == [b"bird"] * 2
            assert serving.accepted == 2

    async def test_a_body_that_streams_is_there_only_once(self) -> None:
        async def body() -> AsyncGenerator[bytes]:
            yield b"frame"

        async with stage(self._once) as (serving, url, connections):
            await get(connections, url)
            with pytest.raises(BrokenOff):
                await connections.send("POST", url, {}, body())
            assert serving.accepted == 1

    async def test_half_an_answer_is_not_asked_for_again(self) -> None:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(OK)
            await reader.readuntil(b"\r\n\r\n")
            writer.write(OK[:20])
            writer.close()

        async with stage(handle) as (serving, url, connections):
            await get(connections, url)
            with pytest.raises(BrokenOff):
                await get(connections, url)
            assert serving.accepted == 1


@pytest.mark.parametrize("turns", range(12))
async def test_a_request_that_is_cancelled_at_any_moment_leaves_nothing_behind(turns: int) -> None:
    async def body() -> AsyncGenerator[bytes]:
        for _ in range(3):
            yield b"frame"
            await asyncio.sleep(0)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await read_chunked(reader)
        writer.write(OK)

    async with stage(handle) as (serving, url, connections):

        async def ask() -> bytes:
            async with await connections.send("POST", url, {}, body()) as answer:
                return await answer.read()

        asking = asyncio.create_task(ask())
        for _ in range(turns):
            await asyncio.sleep(0)
        asking.cancel()
        with suppress(asyncio.CancelledError):
            await asking
        assert await ask() == b"bird"
        sending = [task for task in asyncio.all_tasks() if "_send_pieces" in repr(task)]
        await asyncio.gather(*sending, return_exceptions=True)
        assert serving.accepted <= 2


async def test_an_interim_answer_is_none() -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
    async with stage(always(hints + OK)) as (_, url, connections), await connections.send("GET", url, {}) as answer:
        assert (answer.status, "link" in answer.headers) == (200, False)
        assert await answer.read() == b"bird"


@pytest.mark.parametrize("value", ["a\r\nForged: 1", "a\nb", "a\rb"])
async def test_a_header_with_a_line_break_is_not_sent(value: str) -> None:
    async with open_connections() as connections:
        with pytest.raises(ValueError, match="line break"):
            await connections.send("GET", "http://127.0.0.1:1", {"Bowerbird-Flow": value})
