"""Files as tenants see them: upload, get, page, delete; and how much a tenant stores.

Every question names the tenant; another tenant's file is unknown, not forbidden. A file that is still written is
unknown to everybody.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, delete, func, insert, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from bowerbird.errors import FileInUse, FileUnknown, StorageFull
from bowerbird.gateway.batches.tables import batches
from bowerbird.gateway.files.file import File, Purpose
from bowerbird.gateway.files.parts import FileParts
from bowerbird.gateway.files.tables import file_parts, files
from bowerbird.gateway.pictures import PictureStore
from bowerbird.gateway.records.database import Database
from bowerbird.gateway.records.idempotency import IdempotencyKeys, KeyedRequest, KeyTarget
from bowerbird.gateway.records.tables import job_uploads

OPEN, READY = "open", "ready"
_UNKNOWN = "There is no file of this id."
_SEEN = (
    *(files.c.id, files.c.tenant, files.c.purpose, files.c.filename, files.c.bytes, files.c.lines),
    *(files.c.created_ms, files.c.expires_ms),
)
READ_BY_BATCHES = ("validating", "in_progress", "cancelling")
"""States of a batch that still reads its input."""


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file before anything is in it."""

    tenant: str
    purpose: Purpose
    filename: str


class Files:
    """The files of all tenants; `quota_bytes` is what one of them may store."""

    def __init__(
        self, database: Database, pictures: PictureStore, keys: IdempotencyKeys, parts: FileParts, quota_bytes: int
    ) -> None:
        self._database = database
        self._pictures = pictures
        self._keys = keys
        self._quota_bytes = quota_bytes
        self.parts = parts

    async def begin(self, new: NewFile) -> str:
        """The id of an open file; raises StorageFull."""
        async with self._database.writing() as connection:
            await self.require_room(connection, new.tenant, 1)
            return await self.insert(connection, new)

    async def insert(self, connection: AsyncConnection, new: NewFile) -> str:
        """The same in the caller's transaction, whatever is stored already."""
        file_id = f"file-{secrets.token_hex(12)}"
        row = {
            "id": file_id,
            "tenant": new.tenant,
            "purpose": new.purpose.value,
            "filename": new.filename,
            "state": OPEN,
            "bytes": 0,
            "lines": 0,
            "parts": 0,
        }
        await connection.execute(insert(files).values(created_ms=self._database.now(), **row))
        return file_id

    async def append(self, tenant: str, file_id: str, body: bytes, lines: int) -> None:
        """A part more, put and filled; raises StorageFull, or FileUnknown when the file was given up meanwhile."""
        async with self._database.writing() as connection:
            await self.require_room(connection, tenant, len(body))
            part = await self.parts.name(connection, file_id)
        await self.parts.put(part, body)
        async with self._database.writing() as connection:
            await self.parts.fill(connection, part, len(body), lines)

    async def finish(self, file_id: str, seconds: int, filename: str, key: KeyedRequest | None = None) -> File:
        """The file, ready, for so many seconds; under a key that stands for another one by now, that one.

        Raises FileUnknown when it was given up meanwhile, IdempotencyKeyReused.
        """
        async with self._database.writing() as connection:
            if key is not None and (other := await self._known_by(connection, key, file_id)):
                file = await _get(connection, key.tenant, other)
            else:
                file = await self.ready(connection, file_id, seconds, filename)
        if file.id != file_id:
            await self.give_up(file_id)
        return file

    async def ready(self, connection: AsyncConnection, file_id: str, seconds: int, filename: str | None = None) -> File:
        """The open file is there for its tenant from the caller's commit on."""
        now = self._database.now()
        values: dict[str, Any] = {"state": READY, "created_ms": now, "expires_ms": now + seconds * 1000}
        values |= {} if filename is None else {"filename": filename}
        opening = update(files).where(files.c.id == file_id, files.c.state == OPEN).values(**values).returning(*_SEEN)
        row = (await connection.execute(opening)).first()
        if row is None:
            raise FileUnknown("The upload took too long, and was given up.", param="file")
        return _file(row)

    async def give_up(self, file_id: str) -> None:
        """Removes an open file with what is in it."""
        await self._remove(select(files.c.id).where(files.c.id == file_id, files.c.state == OPEN))

    async def get(self, tenant: str, file_id: str) -> File:
        """One file; raises FileUnknown."""
        async with self._database.reading() as connection:
            return await _get(connection, tenant, file_id)

    async def page(
        self,
        tenant: str,
        limit: int,
        after: str | None = None,
        purpose: str | None = None,
        *,
        oldest_first: bool = False,
    ) -> list[File]:
        """Up to `limit` files behind the one of the id `after`; raises FileUnknown where there is none of it."""
        asking: Select[Any] = select(*_SEEN).where(files.c.tenant == tenant, files.c.state == READY)
        place = tuple_(files.c.created_ms, files.c.id)
        if purpose is not None:
            asking = asking.where(files.c.purpose == purpose)
        async with self._database.reading() as connection:
            if after is not None:
                last = await _get(connection, tenant, after, param="after")
                behind = (last.created_ms, last.id)
                asking = asking.where(place > behind if oldest_first else place < behind)
            order = (files.c.created_ms, files.c.id)
            asking = asking.order_by(*(order if oldest_first else (each.desc() for each in order))).limit(limit)
            return [_file(row) for row in (await connection.execute(asking)).all()]

    async def delete(self, tenant: str, file_id: str) -> None:
        """The file is gone with its bytes; raises FileUnknown, or FileInUse while a batch reads it."""
        async with self._database.writing() as connection:
            await _get(connection, tenant, file_id)
            reading = select(batches.c.id).where(
                batches.c.input_file_id == file_id, batches.c.state.in_(READ_BY_BATCHES)
            )
            if batch_id := await connection.scalar(reading.limit(1)):
                fact = "A batch that has not ended reads this file. Cancel it first."
                raise FileInUse(fact, param="file_id", details={"batch": batch_id})
            keys = await _keys_of(connection, [file_id])
            await connection.execute(delete(files).where(files.c.id == file_id))
        await self._pictures.delete(keys)

    async def remove_tenant(self, tenant: str) -> int:
        """Removes every file of a tenant, open ones too; how many. End the tenant's batches before."""
        return await self._remove(select(files.c.id).where(files.c.tenant == tenant))

    async def stored_bytes(self, tenant: str) -> int:
        """What the tenant stores, open files and pictures that jobs begin with included."""
        async with self._database.reading() as connection:
            return await _stored(connection, tenant)

    async def require_room(self, connection: AsyncConnection, tenant: str, length: int) -> None:
        """Raises StorageFull when so many bytes more are more than the tenant may store."""
        stored = await _stored(connection, tenant)
        if stored + length > self._quota_bytes:
            raise StorageFull(
                f"Your files, and the pictures of your clips, take {stored} of {self._quota_bytes} bytes: there is no "
                "room for this. Delete some.",
                details={"stored_bytes": stored, "quota_bytes": self._quota_bytes},
            )

    async def _remove(self, which: Select[Any]) -> int:
        async with self._database.writing() as connection:
            ids = list((await connection.execute(which)).scalars())
            keys = await _keys_of(connection, ids)
            await connection.execute(delete(files).where(files.c.id.in_(ids)))
        await self._pictures.delete(keys)
        return len(ids)

    async def _known_by(self, connection: AsyncConnection, key: KeyedRequest, file_id: str) -> str | None:
        """The file that the key stands for, if it is another one."""
        answer = json.dumps({"file": file_id}).encode()
        [remembered] = await self._keys.insert(connection, [KeyTarget(key, answer=answer)])
        found = remembered.must_be(key).answer
        known = None if found is None else json.loads(found).get("file")
        return None if known == file_id else known


async def _get(connection: AsyncConnection, tenant: str, file_id: str, param: str = "file_id") -> File:
    asking = select(*_SEEN).where(files.c.id == file_id, files.c.tenant == tenant, files.c.state == READY)
    row = (await connection.execute(asking)).first()
    if row is None:
        raise FileUnknown(_UNKNOWN, param=param)
    return _file(row)


async def _stored(connection: AsyncConnection, tenant: str) -> int:
    """Files, and the pictures that were uploaded for jobs."""
    of_files, of_uploads = (
        select(func.coalesce(func.sum(each.c.bytes), 0)).where(each.c.tenant == tenant).scalar_subquery()
        for each in (files, job_uploads)
    )
    return int(await connection.scalar(select(of_files + of_uploads)) or 0)


async def _keys_of(connection: AsyncConnection, file_ids: Sequence[str]) -> list[str]:
    """Every key that is named for these files."""
    asking = select(file_parts.c.key, file_parts.c.next_key).where(file_parts.c.file_id.in_(file_ids))
    rows = (await connection.execute(asking)).all()
    return [key for row in rows for key in row if key is not None]


def _file(row: Any) -> File:
    seen = dict(row._mapping)
    return File(**seen | {"purpose": Purpose(seen["purpose"])})
