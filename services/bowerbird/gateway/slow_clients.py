"""What a slow client may take: uvicorn's HTTP/1.1 with an end to what it would wait for without one.

    a request's head      must be complete HEAD_SECONDS after the connection, or its own first byte, came
    an answer             must leave at SLOWEST_BYTES_PER_SECOND at least, looked at every LOOK_SECONDS
    a request's body      is bounded where it is read (`api.body`), where there is still somebody to tell
    nothing at all        uvicorn's keep-alive, between two requests

Each such connection is cut: who holds thousands of them open, a byte a minute, holds nothing here for long. What may be
sent in one go costs a comparison; only what comes or leaves in pieces costs a timer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, MutableMapping
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_SECONDS = 20.0
SLOWEST_BYTES_PER_SECOND = 4096
LOOK_SECONDS = 10.0
BODY_IS_THERE = "bowerbird.body_is_there"
"""In the scope of a request that was received whole: its body need not be waited for, nor the wait be bounded."""

_COPIED_BYTES = 65_536
"""A larger body goes by itself: to copy it would cost more than the call."""


class HeadWithBody:
    """A transport that sends an answer's head with what comes after it: uvicorn writes them one by one.

    A write is a system call, which costs as much as all else that is done to send an answer. A head that nothing
    follows at once (a stream's) leaves when the event loop comes round.
    """

    __slots__ = ("_head", "_loop", "_transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._head = b""

    def __getattr__(self, name: str) -> Any:
        """Everything else is the transport's."""
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Sends it, a head a little later."""
        if self._head:
            head, self._head = self._head, b""
            self._transport.write(head + data if len(data) <= _COPIED_BYTES else head)
            if len(data) > _COPIED_BYTES:
                self._transport.write(data)
        elif data.startswith(b"HTTP/1.1 "):
            self._head = data
            self._loop.call_soon(self._send_head)
        else:
            self._transport.write(data)

    def writelines(self, lines: Iterable[bytes]) -> None:
        """Sends them all at once."""
        self._send_head()
        self._transport.writelines(lines)

    def close(self) -> None:
        """Closes when everything was sent."""
        self._send_head()
        self._transport.close()

    def _send_head(self) -> None:
        if self._head:
            head, self._head = self._head, b""
            self._transport.write(head)


class BoundedHttpProtocol(HttpToolsProtocol):
    """One connection; what the gateway's own is made of (`hot.protocol`)."""

    _head: asyncio.TimerHandle | None = None
    _leaving: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Begins to wait for the first head."""
        super().connection_made(cast("asyncio.Transport", HeadWithBody(transport, self.loop)))
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Waits for nothing more."""
        self._await_no_head()
        self._look_no_more()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Waits on for a head that is not complete yet; also for the end of a body that was answered already."""
        super().data_received(data)
        if not self._awaits_head():
            self._await_no_head()
        elif self._head is None:
            self._await_head()

    def on_message_complete(self) -> None:
        """The request is whole."""
        cast("MutableMapping[str, Any]", self.scope)[BODY_IS_THERE] = True
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """From here on uvicorn's keep-alive counts."""
        self._await_no_head()
        super().on_response_complete()

    def pause_writing(self) -> None:
        """More is to leave than the connection takes: begins to look how fast it leaves."""
        super().pause_writing()
        self._look_again(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        """It has left."""
        self._look_no_more()
        super().resume_writing()

    def _awaits_head(self) -> bool:
        """Whether what was received so far leaves a head to be waited for; asked when some was."""
        return self.cycle is None or self.cycle.response_complete

    def _await_head(self) -> None:
        self._head = self.loop.call_later(HEAD_SECONDS, self.transport.abort)

    def _await_no_head(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None

    def _look_again(self, left: int) -> None:
        self._leaving = self.loop.call_later(LOOK_SECONDS, self._look, left)

    def _look_no_more(self) -> None:
        if self._leaving is not None:
            self._leaving.cancel()
            self._leaving = None

    def _look(self, before: int) -> None:
        left = self.transport.get_write_buffer_size()
        if before - left < SLOWEST_BYTES_PER_SECOND * LOOK_SECONDS:
            self.transport.abort()
        else:
            self._look_again(left)
