"""Lines both ways over one HTTP request: its body carries one direction, its answer the other.

No second protocol, port or dependency is needed for that: HTTP/1.1 bodies are streams, and neither end waits for the
other's to end (a proxy might; replicas reach each other directly). Who has nothing to say says so every BEAT_SECONDS,
and who is not heard for SILENCE_SECONDS is taken for dead, on both ends.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable

from bowerbird.gateway.replicas.messages import Message

BEAT_SECONDS = 1.0
SILENCE_SECONDS = 3.0
MAX_LINE_BYTES = 16 * 1024 * 1024
"""An announcement of some ten thousand tickets."""


class Silence(Exception):
    """The other end is not heard any more, or was not heard by us for too long, or what it said is no line."""


class Outbox:
    """What is to be said to the other end; `beat` is said when there has been nothing else for a while."""

    def __init__(self, beat: Callable[[], Message]) -> None:
        self._beat = beat
        self._lines: list[bytes] = []
        self._filled = asyncio.Event()
        self._beats_at = 0.0

    def put(self, message: Message) -> None:
        """It is said after all that was put in before."""
        self._lines.append(message.line())
        self._filled.set()

    async def chunks(self) -> AsyncIterator[bytes]:
        """What there is to say, for ever; a beat at once, so that the other end knows that somebody is there."""
        while True:
            yield self._take()
            try:
                async with asyncio.timeout(max(0.0, self._beats_at - time.monotonic())):
                    await self._filled.wait()
            except TimeoutError:
                pass

    def _take(self) -> bytes:
        self._filled.clear()
        if time.monotonic() >= self._beats_at:
            self._beats_at = time.monotonic() + BEAT_SECONDS
            self._lines.append(self._beat().line())
        lines, self._lines = self._lines, []
        return b"".join(lines)


async def heard(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The lines of what the other end says; raises Silence when it says nothing for too long.

    Who was stopped meanwhile raises it too: what lies in the socket then is old, and the other end has given up.
    """
    rest = b""
    while True:
        began = time.monotonic()
        try:
            async with asyncio.timeout(SILENCE_SECONDS):
                chunk = await anext(chunks, None)
        except TimeoutError as error:
            raise Silence("nothing was heard for too long") from error
        if time.monotonic() - began > SILENCE_SECONDS:
            raise Silence("this process was stopped meanwhile")
        if chunk is None:
            return
        *lines, rest = (rest + chunk).split(b"\n")
        if len(rest) > MAX_LINE_BYTES:
            raise Silence("what was said is too long for a line")
        for line in lines:
            if line:
                yield line
