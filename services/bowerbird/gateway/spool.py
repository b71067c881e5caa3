"""The frames of one request between drawing and publishing: kept once, read by several stages at their own pace.

The story puts frames in as they arrive, in whatever order; the uploads to curation and safety read them in theirs, and
publishing reads the chosen ones again. Memory is bounded: what exceeds `memory_bytes` goes to an unnamed temporary
file, which the operating system removes with the process. Frames are kept as the encoded part they will be sent as:
their digest is computed once and not once for each reader.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import IO


@dataclass(frozen=True, slots=True)
class _OnDisk:
    offset: int
    length: int


class FrameSpool:
    """Frames by index; `get` waits for one that has not arrived yet."""

    def __init__(self, memory_bytes: int) -> None:
        self._free_bytes = memory_bytes
        self._frames: dict[int, bytes | _OnDisk] = {}
        self._seen: set[int] = set()
        self._awaited: dict[int, list[asyncio.Future[None]]] = {}
        self._file: IO[bytes] | None = None
        self._file_bytes = 0
        self._file_lock = asyncio.Lock()

    def __contains__(self, index: int) -> bool:
        return index in self._seen

    def __len__(self) -> int:
        return len(self._seen)

    @property
    def file_bytes(self) -> int:
        """Bytes that did not fit into memory."""
        return self._file_bytes

    async def put(self, index: int, frame: bytes) -> None:
        """Keeps one frame and wakes who waits for it."""
        kept: bytes | _OnDisk = frame
        if len(frame) > self._free_bytes:
            kept = await self._write(frame)
        else:
            self._free_bytes -= len(frame)
        self._frames[index] = kept
        self._seen.add(index)
        for reader in self._awaited.pop(index, ()):
            if not reader.done():  # it may have been cancelled
                reader.set_result(None)

    async def get(self, index: int) -> bytes:
        """Frame `index`, as soon as it is there; raises KeyError when it was dropped."""
        if index not in self._seen:
            arrival = asyncio.get_running_loop().create_future()
            self._awaited.setdefault(index, []).append(arrival)
            await arrival
        kept = self._frames[index]
        return kept if isinstance(kept, bytes) else await self._read(kept)

    def keep_only(self, indices: Collection[int]) -> None:
        """Drops all frames but these."""
        for index in [each for each in self._frames if each not in set(indices)]:
            dropped = self._frames.pop(index)
            if isinstance(dropped, bytes):
                self._free_bytes += len(dropped)

    async def close(self) -> None:
        """Forgets everything."""
        self._frames.clear()
        if self._file is not None:
            await asyncio.to_thread(self._file.close)

    async def _write(self, frame: bytes) -> _OnDisk:
        async with self._file_lock:
            if self._file is None:
                self._file = await asyncio.to_thread(tempfile.TemporaryFile)
            place = _OnDisk(self._file_bytes, len(frame))
            await asyncio.to_thread(_write_at, self._file, place.offset, frame)
            self._file_bytes += len(frame)
            return place

    async def _read(self, place: _OnDisk) -> bytes:
        async with self._file_lock:
            assert self._file is not None  # noqa: S101 - a place exists only after the file does
            return await asyncio.to_thread(_read_at, self._file, place)


@asynccontextmanager
async def frame_spool(memory_bytes: int) -> AsyncIterator[FrameSpool]:
    """A spool for one request, closed when the request ends in whatever way."""
    spool = FrameSpool(memory_bytes)
    try:
        yield spool
    finally:
        await asyncio.shield(spool.close())


def _write_at(file: IO[bytes], offset: int, data: bytes) -> None:
    file.seek(offset)
    file.write(data)


def _read_at(file: IO[bytes], place: _OnDisk) -> bytes:
    file.seek(place.offset)
    return file.read(place.length)
