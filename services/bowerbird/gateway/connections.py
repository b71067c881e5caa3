"""HTTP/1.1 to the stages: kept connections, one request at a time on each, bodies that stream in both directions.

`upstream` sends every hop of every request through here; what is asked seldom (probes, other replicas, the API server
of Kubernetes) has aiohttp. httptools parses, as it does for uvicorn; what is not needed between two services of ours
(redirects, cookies, proxies, compression) is left out. That is the difference: 95 µs of CPU for a hop like
/check_prompt against 244 with aiohttp 3.14 and its C parser, 230 µs against 460 for one that uploads a frame of
256 x 256 (one run on a busy machine: the ratio is what counts). A hop is the largest part of a hit; a picture has five.

    answer = await connections.send("POST", url, headers, body)      its head is there: answer.status, answer.headers
    async with answer:                                               or `answer.leave()` in the end
        await answer.read()                                          or `await answer.piece()` until it is None

However the block is left, nothing stays under way: an answer that was read to its end, to a body that was sent to its
end, leaves its connection for the next request; in every other case the connection is closed, which is how a stage
learns that nobody waits any more. Whoever sends faster than the other reads waits, in both directions.

What goes wrong on the way is a ConnectionError: `Unreachable` when no connection could be had, `BrokenOff` when it
ended before the answer did. An exception of the body that is sent is raised as it is. A kept connection that the stage
closed just as it was used, without a byte of an answer, is replaced by another one: what is asked of a stage may be
asked twice (RFC 9110 section 9.2.2), but a body that streams is there only once.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import NamedTuple, cast
from urllib.parse import urlsplit

import httptools

CONNECT_SECONDS = 5.0
KEEP_ALIVE_SECONDS = 4.0
"""Below the 5 s after which the services' uvicorn closes an idle connection: a POST must not meet a closing one."""
MAX_HEAD_BYTES = 64 * 1024
MOST_UNREAD_BYTES = 512 * 1024
"""Of an answer that is read slower than it arrives: more than one frame of 256 x 256 on its way."""

Body = bytes | list[bytes] | AsyncIterable[bytes] | None
"""What is there as a whole, in one piece or several, is sent with its length at once; what is not, as it comes, by a
task of its own, which takes as long as all the rest of a hop."""
WHOLE = (bytes, list)


class Unreachable(ConnectionError):
    """Nobody accepts connections there, or not in time."""


class BrokenOff(ConnectionError):
    """The connection ended before the answer did, or what came is no HTTP."""


class Address(NamedTuple):
    """Where connections go."""

    host: str
    port: int
    tls: bool


class Connections:
    """To every stage, made as they are needed; used in one event loop."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._idle: dict[Address, deque[tuple[float, Connection]]] = {}
        self._tls = tls

    async def send(self, method: str, url: str, headers: Mapping[str, str], body: Body = None) -> Answer:
        """The answer as soon as its head is there; raises Unreachable, BrokenOff, or what `body` raises."""
        address, host, target = _split(url)
        head = _head(method, target, host, headers, body)
        while True:
            kept = self._kept(address)
            connection = kept or await self._connect(address)
            try:
                await connection.exchange(head, body)
            except BrokenOff:
                connection.close()
                if kept is None or connection.heard or not (body is None or isinstance(body, WHOLE)):
                    raise
            except BaseException:
                connection.close()
                raise
            else:
                return Answer(connection, self, address)

    def release(self, address: Address, connection: Connection) -> None:
        """Nobody reads on: it is kept for the next request, or closed; for `Answer`."""
        if not connection.reusable:
            connection.close()
            return
        connections, now = self._idle.setdefault(address, deque()), time.monotonic()
        connections.append((now, connection))
        while connections and now - connections[0][0] >= KEEP_ALIVE_SECONDS:
            connections.popleft()[1].close()

    def close(self) -> None:
        """Closes what nobody uses."""
        for connections in self._idle.values():
            for _, connection in connections:
                connection.close()
        self._idle.clear()

    def _kept(self, address: Address) -> Connection | None:
        """The connection that was used last, unless the other side may be about to close it."""
        connections = self._idle.get(address)
        while connections:
            since, connection = connections.pop()
            if connection.open and time.monotonic() - since < KEEP_ALIVE_SECONDS:
                return connection
            connection.close()
        return None

    async def _connect(self, address: Address) -> Connection:
        if address.tls and self._tls is None:
            self._tls = ssl.create_default_context()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                _, connection = await asyncio.get_running_loop().create_connection(
                    Connection, address.host, address.port, ssl=self._tls if address.tls else None
                )
        except OSError as error:  # TimeoutError is one
            raise Unreachable(f"{address.host} port {address.port}") from error
        return connection


@asynccontextmanager
async def open_connections(tls: ssl.SSLContext | None = None) -> AsyncIterator[Connections]:
    """Connections that are closed at the end; `tls` for `https://`, None for what anybody trusts."""
    connections = Connections(tls)
    try:
        yield connections
    finally:
        connections.close()


class Answer:
    """A stage's answer: its head, and its body as it arrives; `async with` around the reading."""

    def __init__(self, connection: Connection, connections: Connections, address: Address) -> None:
        self._connection = connection
        self._connections = connections
        self._address = address
        self.status = connection.status
        self.headers = connection.headers
        """By lower-case name."""

    async def __aenter__(self) -> Answer:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.leave()

    def leave(self) -> None:
        """Nobody reads on."""
        self._connections.release(self._address, self._connection)

    async def read(self) -> bytes:
        """All of the body."""
        pieces = []
        while (piece := await self._connection.next_piece()) is not None:
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def piece(self) -> bytes | None:
        """More of the body as it arrives, None at its end; raises BrokenOff when it ends early."""
        return await self._connection.next_piece()


class Connection(asyncio.Protocol):
    """One connection; the event loop and httptools call it, `Connections` and `Answer` use it."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._parser: httptools.HttpResponseParser | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._begin()

    def _begin(self) -> None:
        self._sending: asyncio.Task[None] | None = None
        self._sent = False
        self.status = 0
        self.headers: dict[str, str] = {}
        self._pieces: deque[bytes] = deque()
        self._unread = 0
        self._head_bytes = 0
        self._head_read = self._complete = self._keep_alive = False
        self.heard = False
        """Whether anything came back."""
        self._failure: BaseException | None = None

    # ------------------------------------------------------------------------------------------- one exchange

    async def exchange(self, head: bytes, body: Body) -> None:
        """Sends a request; returns when the head of its answer is there, which may be before the body is sent."""
        assert self._transport is not None  # noqa: S101 - connected before anybody has it
        self._begin()
        self._parser = httptools.HttpResponseParser(self)
        if body is None or isinstance(body, WHOLE):
            self._transport.writelines([head, *([body] if isinstance(body, bytes) else body or ())])
            self._sent = True
        else:
            self._transport.write(head)
            self._sending = asyncio.create_task(self._send_pieces(body, self._transport))
        while not self._head_read:
            await self._something()

    async def next_piece(self) -> bytes | None:
        """More of the body, or None at its end; raises what ended it early."""
        while not self._pieces:
            if self._complete:
                return None
            await self._something()
        piece = self._pieces.popleft()
        self._unread -= len(piece)
        if self._unread <= MOST_UNREAD_BYTES < self._unread + len(piece) and self._transport is not None:
            self._transport.resume_reading()
        return piece

    async def _something(self) -> None:
        """Until more has arrived; raises when nothing more will."""
        if self._failure is not None:
            raise self._failure
        if self._transport is None:
            raise BrokenOff("the connection was closed before the answer was complete")
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    async def _send_pieces(self, body: AsyncIterable[bytes], transport: asyncio.Transport) -> None:
        try:
            async for piece in body:
                await self._writable.wait()
                if transport.is_closing():
                    return
                if piece:
                    transport.writelines((b"%x\r\n" % len(piece), piece, b"\r\n"))
            if not transport.is_closing():
                transport.write(b"0\r\n\r\n")
                self._sent = True
        except Exception as error:  # the body's own: it belongs to who waits for the answer
            self._fail(error)

    @property
    def open(self) -> bool:
        """Whether a request may be sent."""
        return self._transport is not None and not self._transport.is_closing()

    @property
    def reusable(self) -> bool:
        """Whether the last exchange left nothing behind, on either side."""
        whole = self._sent and self._complete and self._failure is None and not self._pieces
        if not (whole and self._keep_alive) or self._transport is None or self._transport.is_closing():
            return False
        return not self._transport.get_write_buffer_size()  # the stage may have answered what it has not yet read

    def close(self) -> None:
        """Ends the connection, and what is still being sent."""
        if self._sending is not None:
            self._sending.cancel()
        if self._transport is not None:
            self._transport.abort()

    def _fail(self, error: BaseException) -> None:
        if not self._complete:
            self._failure = self._failure or error
            self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # ---------------------------------------------------------------------------------------- the event loop's calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is connected."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are none by name

    def data_received(self, data: bytes) -> None:
        """Bytes of an answer; of nothing that was asked, the end of the connection."""
        if self._parser is None or self._complete:
            self.close()
            return
        self.heard = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            failure = BrokenOff("the answer is no HTTP")
            failure.__cause__ = error
            self._fail(failure)
            self.close()
            return
        if not self._head_read:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._fail(BrokenOff(f"the head of the answer is longer than {MAX_HEAD_BYTES} bytes"))
                self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone; an answer whose length nobody stated ends with it."""
        self._transport = None
        self._writable.set()
        if self._head_read and not self.headers.keys() & {"content-length", "transfer-encoding"}:
            self._complete = True
        self._wake()

    def pause_writing(self) -> None:
        """The other side reads slower than we send."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """It has caught up."""
        self._writable.set()

    # ------------------------------------------------------------------------------------------- httptools' calls

    def on_message_begin(self) -> None:
        """An answer; one that nobody asked for makes the connection useless."""
        if self._complete:
            self.close()

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header of the answer."""
        if self._complete:
            return
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """The head is there, unless it is an interim one (1xx)."""
        assert self._parser is not None  # noqa: S101 - it is calling
        if self._complete:
            return
        self.status = self._parser.get_status_code()
        if self.status >= 200:
            self._head_read = True
            self._wake()

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        if self._complete:
            return
        self._pieces.append(body)
        before, self._unread = self._unread, self._unread + len(body)
        if before <= MOST_UNREAD_BYTES < self._unread and self._transport is not None:
            self._transport.pause_reading()
        self._wake()

    def on_message_complete(self) -> None:
        """The answer is whole."""
        assert self._parser is not None  # noqa: S101 - it is calling
        if self._head_read:
            self._complete = True
            self._keep_alive = self._parser.should_keep_alive()  # it says so only now
            self._wake()
        else:
            self.headers.clear()


def _head(method: str, target: str, host: str, headers: Mapping[str, str], body: Body) -> bytes:
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if isinstance(body, bytes):
        lines.append(f"Content-Length: {len(body)}")
    elif isinstance(body, list):
        lines.append(f"Content-Length: {sum(map(len, body))}")
    elif body is not None:
        lines.append("Transfer-Encoding: chunked")
    head = "\r\n".join(lines)
    if head.count("\n") != len(lines) - 1 or head.count("\r") != len(lines) - 1:
        raise ValueError("a header has a line break")
    return head.encode("latin-1") + b"\r\n\r\n"


@lru_cache(maxsize=256)
def _split(url: str) -> tuple[Address, str, str]:
    """Address, `Host` header and request target of a URL."""
    parts = urlsplit(url)
    tls = parts.scheme == "https"
    port = parts.port or (443 if tls else 80)
    target = parts.path or "/"
    return Address(parts.hostname or "", port, tls), parts.netloc.rpartition("@")[2], target
