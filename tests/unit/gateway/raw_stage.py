"""A stage over a raw socket, which does with each connection what a test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from bowerbird.gateway.connections import Connections, open_connections

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


async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
