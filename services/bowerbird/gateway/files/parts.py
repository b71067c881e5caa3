"""The bytes of files, part by part: adding, reading, and erasing what must not stay.

A part is named, then put, then filled in (`tables`). Parts of an open file only are named; who reads sees those that
are filled. To erase, a part is put anew under another key, of the same length so that every line stays where it was,
and its row is swapped; of two who do that to one part at the same time the later one to begin wins, and the other one
finds that out and begins again.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from bowerbird.errors import FileUnknown, PictureLost
from bowerbird.gateway.files.tables import file_parts, files
from bowerbird.gateway.pictures import PictureStore
from bowerbird.gateway.records.database import Database

FILES = "files/"
"""Before every key of this room."""
PAGE = 200


class PartOvertaken(Exception):
    """Somebody else began to put a part anew after us: what we put does not have what they erased."""


@dataclass(frozen=True, slots=True)
class NamedPart:
    """A part that may be put now, and is in its file when it was filled."""

    file_id: str
    number: int
    key: str


@dataclass(frozen=True, slots=True)
class Erasure:
    """Bytes of a file, from `start`, that are to be replaced by as many others."""

    start: int
    replacement: bytes

    @property
    def end(self) -> int:
        """Where what stays begins again."""
        return self.start + len(self.replacement)


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A part that was put anew and waits for its row to be swapped."""

    file_id: str
    number: int
    old_key: str
    new_key: str


class FileParts:
    """The parts of all files."""

    def __init__(self, database: Database, pictures: PictureStore) -> None:
        self._database = database
        self._pictures = pictures

    async def name(self, connection: AsyncConnection, file_id: str) -> NamedPart:
        """The next part of an open file, in the caller's transaction; raises FileUnknown when it is not open."""
        numbering = (
            update(files)
            .where(files.c.id == file_id, files.c.state == "open")
            .values(parts=files.c.parts + 1)
            .returning(files.c.parts)
        )
        count = await connection.scalar(numbering)
        if count is None:
            raise FileUnknown("The file is gone, or is written no more.", param="file_id")
        part = NamedPart(file_id, count - 1, f"{FILES}{file_id}/{count - 1}-{secrets.token_hex(8)}")
        row = {"file_id": file_id, "number": part.number, "key": part.key, "bytes": 0}
        await connection.execute(insert(file_parts).values(row))
        return part

    async def put(self, part: NamedPart, body: bytes) -> None:
        """Keeps the bytes of a part that was named."""
        await self._pictures.put(part.key, body)

    async def fill(self, connection: AsyncConnection, part: NamedPart, length: int, lines: int) -> None:
        """The part is in its file from the caller's commit on."""
        filling = update(file_parts).where(
            file_parts.c.file_id == part.file_id, file_parts.c.number == part.number, file_parts.c.key == part.key
        )
        await connection.execute(filling.values(bytes=length))
        growing = update(files).where(files.c.id == part.file_id)
        await connection.execute(growing.values(bytes=files.c.bytes + length, lines=files.c.lines + lines))

    async def read(self, file_id: str) -> AsyncGenerator[bytes]:
        """The file's bytes, a part at a time; raises PictureLost, RecordsUnavailable."""
        last = -1
        while rows := await self._page(file_id, last):
            for row in rows:
                yield await self._read(file_id, row.number, row.key)
                last = row.number

    async def rewrite(self, file_id: str, erasures: Sequence[Erasure]) -> list[Rewritten]:
        """The parts that these ranges touch, put anew; they are not the file's before `swap` was committed."""
        rewritten: list[Rewritten] = []
        start, last = 0, -1
        while rows := await self._page(file_id, last):
            for row in rows:
                end = start + row.bytes
                touching = [each for each in erasures if each.start < end and each.end > start]
                if touching and (part := await self._rewrite(file_id, row.number, start, touching)):
                    rewritten.append(part)
                start, last = end, row.number
        return rewritten

    async def swap(self, connection: AsyncConnection, rewritten: Sequence[Rewritten]) -> None:
        """The new parts instead of the old ones, in the caller's transaction; after its commit, `forget` the old ones.

        Raises PartOvertaken when one was put anew since: then the ranges must be erased again.
        """
        for part in rewritten:
            swapping = (
                update(file_parts)
                .where(
                    file_parts.c.file_id == part.file_id,
                    file_parts.c.number == part.number,
                    file_parts.c.next_key == part.new_key,
                )
                .values(key=part.new_key, next_key=None)
                .returning(file_parts.c.number)
            )
            if await connection.scalar(swapping) is None and await self._is_there(connection, part):
                raise PartOvertaken

    async def forget(self, rewritten: Sequence[Rewritten]) -> None:
        """Deletes what the new parts replaced."""
        await self._pictures.delete([part.old_key for part in rewritten])

    async def _is_there(self, connection: AsyncConnection, part: Rewritten) -> bool:
        """Whether the part is still to be erased: its file may be gone, or this very swap have happened before."""
        asking = select(file_parts.c.key).where(
            file_parts.c.file_id == part.file_id, file_parts.c.number == part.number
        )
        return await connection.scalar(asking) not in (None, part.new_key)

    async def _page(self, file_id: str, after: int) -> Sequence[Any]:
        asking: Select[Any] = (
            select(file_parts.c.number, file_parts.c.key, file_parts.c.bytes)
            .where(file_parts.c.file_id == file_id, file_parts.c.number > after, file_parts.c.bytes > 0)
            .order_by(file_parts.c.number)
            .limit(PAGE)
        )
        async with self._database.reading() as connection:
            found: Sequence[Any] = (await connection.execute(asking)).all()
        return found

    async def _read(self, file_id: str, number: int, key: str) -> bytes:
        """The part, under the key that it has by now: it may have been put anew since its row was read."""
        while True:
            try:
                return await self._pictures.get(key)
            except PictureLost:
                asking = select(file_parts.c.key).where(file_parts.c.file_id == file_id, file_parts.c.number == number)
                async with self._database.reading() as connection:
                    present = await connection.scalar(asking)
                if present in (None, key):
                    raise
                key = present

    async def _rewrite(self, file_id: str, number: int, start: int, erasures: Sequence[Erasure]) -> Rewritten | None:
        new_key = f"{FILES}{file_id}/{number}-{secrets.token_hex(8)}"
        naming = (
            update(file_parts)
            .where(file_parts.c.file_id == file_id, file_parts.c.number == number)
            .values(next_key=new_key)
            .returning(file_parts.c.key)
        )
        async with self._database.writing() as connection:
            old_key = await connection.scalar(naming)
        if old_key is None:  # the file was deleted meanwhile, and this with it
            return None
        body = bytearray(await self._read(file_id, number, old_key))
        for each in erasures:
            first, last = max(each.start, start), min(each.end, start + len(body))
            body[first - start : last - start] = each.replacement[first - each.start : last - each.start]
        await self._pictures.put(new_key, bytes(body))
        return Rewritten(file_id, number, old_key, new_key)
