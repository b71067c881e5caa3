"""An HTTP/1.1 client that costs so little that it can stand beside what it measures.

Requests are bytes that were made beforehand; answers are read by httptools. `Client.ask` takes a free connection or
opens one. Two ways to ask many times: `closed_loop`, as fast as so many callers get their answers, which is what
saturates; and `open_loop`, where every request is due at its time whatever became of those before it, and its latency
counts from then, so that what the client itself is late by is in the figures (coordinated omission, Tene, 2013).
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from typing import Any, cast
from urllib.parse import urlsplit

import httptools

GIVE_UP_SECONDS = 120.0
MOST_AT_ONCE = 2_048
"""Requests that may be under way at a time in an open loop: a gateway that falls behind shows as latency, not as
thousands of connections."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; `seconds` after it was asked, or due, which was at `due` on the performance counter."""

    status: int
    headers: dict[str, str]
    body: bytes
    due: float
    seconds: float

    def json(self) -> Any:
        """The body."""
        return json.loads(self.body)


def request(method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> bytes:
    """A whole request, ready to be written."""
    raw = b"" if body is None else json.dumps(body).encode()
    stated = [f"{name}: {value}" for name, value in (headers or {}).items()]
    lines = [f"{method} {path} HTTP/1.1", "Host: benchmark", *stated]
    if raw:
        lines += ["Content-Type: application/json", f"Content-Length: {len(raw)}"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + raw


class Connection(asyncio.Protocol):
    """One keep-alive connection, one request at a time; `on_body` hears a stream's pieces as they come."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[Answer] | None = None
        self._begin = 0.0
        self._clear()

    def send(self, raw: bytes, due: float | None = None) -> asyncio.Future[Answer]:
        """Writes a request; the future is its answer, and raises ConnectionError when there is none."""
        assert self._transport is not None  # noqa: S101 - set before anybody gets the connection
        self._clear()
        self._begin = time.perf_counter() if due is None else due
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(raw)
        return self._answer

    def close(self) -> None:
        """Hangs up."""
        if self._transport is not None:
            self._transport.abort()

    @property
    def received(self) -> bytes:
        """The body so far."""
        return b"".join(self._pieces)

    def _clear(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._headers: dict[str, str] = {}
        self._pieces: list[bytes] = []

    # ------------------------------------------------------------------------------- asyncio's and httptools' calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are none by name

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def connection_lost(self, _: Exception | None) -> None:
        self._transport = None
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionError("the connection was closed before the answer was complete"))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode().lower()] = value.decode()

    def on_body(self, body: bytes) -> None:
        self._pieces.append(body)

    def on_message_complete(self) -> None:
        seconds = time.perf_counter() - self._begin
        status = self._parser.get_status_code()
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(Answer(status, self._headers, self.received, self._begin, seconds))

    @property
    def open(self) -> bool:
        """Whether it may be asked again."""
        return self._transport is not None and not self._transport.is_closing()


class Client:
    """Connections to one server, as many as are needed at a time."""

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self._host, self._port = address.hostname or "", address.port or 80
        self._idle: deque[Connection] = deque()

    async def connect(self) -> Connection:
        """A connection of one's own."""
        _, connection = await asyncio.get_running_loop().create_connection(Connection, self._host, self._port)
        return connection

    async def ask(self, raw: bytes, due: float | None = None) -> Answer:
        """One answer; who is cancelled hangs up."""
        while self._idle:
            connection = self._idle.pop()
            if connection.open:
                break
        else:
            connection = await self.connect()
        try:
            answer = await connection.send(raw, due)
        except BaseException:
            connection.close()
            raise
        if answer.headers.get("connection") != "close":
            self._idle.append(connection)
        return answer

    def close(self) -> None:
        """Hangs up everywhere."""
        while self._idle:
            self._idle.pop().close()


@asynccontextmanager
async def client_of(url: str) -> AsyncIterator[Client]:
    """A client, closed at the end."""
    client = Client(url)
    try:
        yield client
    finally:
        client.close()


async def closed_loop(client: Client, requests: Iterable[bytes], callers: int) -> list[Answer]:
    """Every answer, without its body; `callers` ask at a time, each again as soon as it was answered."""
    answers: list[Answer] = []
    waiting = iter(requests)

    async def caller() -> None:
        for raw in waiting:
            answers.append(_light(await client.ask(raw)))

    await asyncio.gather(*(caller() for _ in range(callers)))
    return answers


async def open_loop(client: Client, make: Callable[[int], bytes], rate: float, seconds: float) -> list[Answer]:
    """Every answer to a Poisson stream of `rate` requests a second, in the order in which they were asked.

    `make` gives the n-th request. An answer that did not come has status 0.
    """
    gaps = random.Random(1)  # noqa: S311 - arrival times, not secrets
    with _garbage_left_alone():
        return await _asked_in_time(client, make, (gaps.expovariate(rate) for _ in itertools.count()), seconds)


async def _asked_in_time(
    client: Client, make: Callable[[int], bytes], gaps: Iterator[float], seconds: float
) -> list[Answer]:
    begin, due = time.perf_counter(), 0.0
    asking: set[asyncio.Task[Answer]] = set()
    asked: list[asyncio.Task[Answer]] = []
    while (due := due + next(gaps)) < seconds:
        if (early := begin + due - time.perf_counter()) > 0:
            await asyncio.sleep(early)
        while len(asking) >= MOST_AT_ONCE:
            await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
        task = asyncio.create_task(_asked(client, make(len(asked)), begin + due))
        asking.add(task)
        task.add_done_callback(asking.discard)
        asked.append(task)
    return list(await asyncio.gather(*asked))


@contextmanager
def _garbage_left_alone() -> Iterator[None]:
    """Tens of thousands of kept answers are looked through for a tenth of a second, in which nobody would be asked."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


async def _asked(client: Client, raw: bytes, due: float) -> Answer:
    try:
        async with asyncio.timeout(GIVE_UP_SECONDS):
            return _light(await client.ask(raw, due))
    except (ConnectionError, TimeoutError):
        return Answer(0, {}, b"", due, time.perf_counter() - due)


def _light(answer: Answer) -> Answer:
    return replace(answer, body=b"")
