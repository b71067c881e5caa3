"""A client that hangs up stops the denoiser, through a real server and a real socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import uvicorn
from starlette.applications import Starlette

from bowerbird.engine.executor import Executor
from bowerbird.engine.metrics import STEPS, WASTED_STEPS

STEPS_WANTED, COUNT = 50, 20
DRAW = {
    "prompt": "a small red bird",
    "size": {"width": 64, "height": 64},
    "steps": STEPS_WANTED,
    "guidance_scale": 2,
    "seed": 7,
    "count": COUNT,
}


class Server:
    """The service on a loopback port."""

    def __init__(self, app: Starlette, port: int) -> None:
        self.executor: Executor = app.state.executor
        self._port = port

    async def post(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A drawing that has been asked for; its answer is not read yet."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        body = json.dumps(DRAW).encode()
        head = f"POST /draw HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
        return reader, writer

    async def until_free(self) -> None:
        """Returns when computing has stopped for every request."""
        async with asyncio.timeout(60):
            while self.executor.free_slots < self.executor.slots:  # noqa: ASYNC110 - it has no event for tests
                await asyncio.sleep(0.005)


@pytest.fixture
async def server(app_of: Callable[..., Starlette], slow_folder: Path) -> AsyncIterator[Server]:
    app = app_of(slow_folder)
    async with serving(app) as port:
        yield Server(app, port)


@asynccontextmanager
async def serving(app: Starlette) -> AsyncIterator[int]:
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", timeout_graceful_shutdown=5))
    running = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - nor has uvicorn
        await asyncio.sleep(0.005)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    await running


async def close(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()
    with suppress(ConnectionError):
        await writer.wait_closed()


async def test_a_hang_up_stops_the_denoiser_and_wastes_at_most_one_step(server: Server) -> None:
    before, wasted = STEPS._value.get(), WASTED_STEPS._value.get()
    reader, writer = await server.post()
    await reader.readuntil(b'"step":2')
    await close(writer)
    await server.until_free()
    stopped_at = STEPS._value.get()
    assert 2 <= stopped_at - before < STEPS_WANTED * COUNT / 2
    await asyncio.sleep(0.1)
    assert STEPS._value.get() == stopped_at
    assert WASTED_STEPS._value.get() - wasted <= 1


async def test_a_hang_up_while_waiting_is_never_computed(server: Server) -> None:
    before = STEPS._value.get()
    first_reader, first = await server.post()
    await first_reader.readuntil(b'"step":1')
    reader, waiting = await server.post()
    await reader.readuntil(b'"step":0')
    await close(waiting)
    await asyncio.sleep(0.05)
    await close(first)
    await server.until_free()
    assert STEPS._value.get() - before < STEPS_WANTED * COUNT / 2


async def test_the_first_part_comes_while_another_drawing_is_computed(server: Server) -> None:
    first_reader, first = await server.post()
    await first_reader.readuntil(b'"step":1')
    reader, second = await server.post()
    spoken = await reader.readuntil(b'"step":0')
    assert spoken.startswith(b"HTTP/1.1 200")
    await close(second)
    await close(first)
    await server.until_free()


async def test_a_full_service_answers_429_at_once_and_takes_the_next_when_one_left(server: Server) -> None:
    taken = [await server.post() for _ in range(server.executor.slots)]
    for reader, _ in taken:
        await reader.readuntil(b'"step":0')
    reader, refused = await server.post()
    answer = await reader.readuntil(b"}}")
    assert answer.startswith(b"HTTP/1.1 429")
    assert b"retry-after: " in answer
    assert b'"code":"stage_full"' in answer
    await close(refused)
    for _, writer in taken:
        await close(writer)
    await server.until_free()
    reader, writer = await server.post()
    assert (await reader.readuntil(b'"step":1')).startswith(b"HTTP/1.1 200")
    await close(writer)
    await server.until_free()
