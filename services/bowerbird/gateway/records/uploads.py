"""Pictures that jobs begin with: uploaded with a request, kept as long as its job, and counted in what a tenant stores.

A clip begins with one file; of an edit the mask's file lies behind the picture's (`jobs.request.KeptEdit`).

`api.accepting` keeps one before it submits the job, and whoever carries the job out reads it. A row names it before
its file is put (as with files, `files.tables`), so that a file which no row names may be removed at any time by
anybody. What becomes of no job is forgotten at once; where the gateway died in between, `sweep` removes it.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from sqlalchemy import delete, exists, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from bowerbird.errors import PictureLost, RecordsUnavailable
from bowerbird.gateway.pictures import PictureStore
from bowerbird.gateway.records.database import Database
from bowerbird.gateway.records.tables import job_uploads, jobs

LEFT_BEHIND_MS = 3_600_000
"""No request takes this long from naming its upload to submitting its job."""
BATCH = 500

RequireRoom = Callable[[AsyncConnection, str, int], Awaitable[None]]
"""Raises StorageFull when a tenant may not store so many bytes more."""


@dataclass(frozen=True, slots=True)
class Upload:
    """Whose it is, and for which job."""

    job_id: str
    tenant: str
    person: str | None


class JobUploads:
    """What was uploaded for jobs, one body for each job that begins with a picture."""

    def __init__(self, database: Database, pictures: PictureStore) -> None:
        self._database = database
        self._pictures = pictures

    async def keep(self, upload: Upload, body: bytes, require_room: RequireRoom) -> None:
        """Keeps `body` for a job that will be submitted; raises StorageFull or RecordsUnavailable."""
        row = {
            "job_id": upload.job_id,
            "tenant": upload.tenant,
            "person": upload.person,
            "bytes": len(body),
            "digest": await asyncio.to_thread(_digest, body),
        }
        async with self._database.writing() as connection:
            await require_room(connection, upload.tenant, len(body))
            await connection.execute(insert(job_uploads).values(created_ms=self._database.now(), **row))
        try:
            await self._pictures.put(upload_key(upload.job_id), body)
        except RecordsUnavailable:
            await self.forget(upload.job_id)
            raise

    async def read(self, job_id: str) -> bytes:
        """What was kept; raises PictureLost, where it was erased as well."""
        asking = select(job_uploads.c.digest).where(job_uploads.c.job_id == job_id)
        async with self._database.reading() as connection:
            digest = await connection.scalar(asking)
        if digest is None:
            raise PictureLost("The picture that the job begins with is gone.")
        body = await self._pictures.get(upload_key(job_id))
        if await asyncio.to_thread(_digest, body) != digest:
            raise PictureLost("The picture that the job begins with is not the one that was kept.")
        return body

    async def forget(self, job_id: str) -> None:
        """Removes what was kept for a job that was not accepted after all; what cannot be now, `sweep` removes."""
        with suppress(RecordsUnavailable):
            async with self._database.writing() as connection:
                keys = await forget_uploads(connection, [job_id])
            await self._pictures.delete(keys)

    async def sweep(self) -> int:
        """Removes what was left behind of requests that never became jobs; how many."""
        removed = 0
        became_one = exists().where(jobs.c.id == job_uploads.c.job_id)
        asking = (
            select(job_uploads.c.job_id)
            .where(job_uploads.c.created_ms <= self._database.now() - LEFT_BEHIND_MS, ~became_one)
            .limit(BATCH)
        )
        while True:
            async with self._database.writing() as connection:
                ids = (await connection.execute(asking)).scalars().all()
                keys = await forget_uploads(connection, ids)
            await self._pictures.delete(keys)
            removed += len(keys)
            if len(ids) < BATCH:
                return removed


def upload_key(job_id: str) -> str:
    """Where it lies: among the pictures of its job, so that who lists those finds it too."""
    return f"jobs/{job_id}/upload"


async def forget_uploads(connection: AsyncConnection, job_ids: Sequence[str]) -> list[str]:
    """Removes the rows of these jobs' uploads, in the transaction in which the jobs go; the keys of their files."""
    if not job_ids:
        return []
    removing = delete(job_uploads).where(job_uploads.c.job_id.in_(job_ids)).returning(job_uploads.c.job_id)
    return [upload_key(job_id) for job_id in (await connection.execute(removing)).scalars()]


def _digest(body: bytes) -> str:
    return f"sha256:{hashlib.sha256(body).hexdigest()}"
