"""HTTP/1.1 to the stages over real sockets: what a broken stage may do, and whoever leaves in the middle."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress

import pytest

from bowerbird.gateway.connections import BrokenOff, Unreachable, open_connections

from .raw_stage import OK, always, closing, get, read_chunked, silent, stage


async def test_where_nobody_listens_is_unreachable() -> None:
    async with stage(silent) as (_, url, _), open_connections() as connections:
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
