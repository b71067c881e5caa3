"""Lines of a file that comes in pieces: their numbers, where they lie, and their bytes while those are within bounds.

Called with whatever the parts of a file are cut into; a line that is longer than may be held is told as one, and its
bytes are let go of as they come. Whether a line is blank does not depend on that bound: who counts lines and who reads
them agree.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RawLine:
    """A line that is not blank."""

    number: int
    """In the file, from 1; blank lines count."""
    start: int
    """Bytes before it."""
    length: int
    """In bytes, without what ends it."""
    content: bytes | None
    """None where it is longer than may be held."""


class LineReader:
    """Lines of up to `max_bytes`, ended by `\\n`; the last one need not be."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._number = 1
        self._start = 0
        self._length = 0
        self._blank = True
        self._pieces: list[bytes] = []

    def feed(self, piece: bytes) -> Iterator[RawLine]:
        """The lines that end in this piece."""
        begin = 0
        while (end := piece.find(b"\n", begin)) >= 0:
            self._take(piece[begin:end])
            yield from self._ended()
            begin = end + 1
        self._take(piece[begin:])

    def end(self) -> Iterator[RawLine]:
        """The last line, if nothing ended it."""
        if self._length:
            yield from self._ended()

    def _take(self, piece: bytes) -> None:
        self._length += len(piece)
        self._blank = self._blank and not piece.strip()
        if self._length > self._max_bytes:
            self._pieces.clear()
        elif piece:
            self._pieces.append(piece)

    def _ended(self) -> Iterator[RawLine]:
        content = b"".join(self._pieces) if self._length <= self._max_bytes else None
        line = RawLine(self._number, self._start, self._length, content)
        blank = self._blank
        self._number += 1
        self._start += self._length + 1
        self._length, self._blank = 0, True
        self._pieces.clear()
        if not blank:
            yield line


async def lines_of(pieces: AsyncIterator[bytes], max_bytes: int) -> AsyncGenerator[RawLine]:
    """Every line that is not blank of what comes in pieces."""
    reader = LineReader(max_bytes)
    async for piece in pieces:
        for line in reader.feed(piece):
            yield line
    for line in reader.end():
        yield line
