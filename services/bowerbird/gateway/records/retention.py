"""What is removed when, so that neither a row nor a file is left that belongs to nothing.

`sweep` is safe at any time, in any replica, also in two at once. Rows go first and files after them; what a crash
leaves between the two is found by the next sweep, because files carry their owner in their name:
`jobs/<job>/<epoch>-<n>`. A file may be deleted on three conditions, each of which stays true once it is: its job is
gone, its job has ended without naming it, or its job was claimed again since. While none holds, its writer may still
name it. What a job begins with (`uploads`) is named before it is there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import delete, select, tuple_, update

from bowerbird.gateway.pictures import PictureStore
from bowerbird.gateway.records.database import Database
from bowerbird.gateway.records.job import JobState
from bowerbird.gateway.records.job_events import JobEvents
from bowerbird.gateway.records.jobs import UNFINISHED
from bowerbird.gateway.records.tables import idempotency_keys, job_pictures, job_uploads, jobs
from bowerbird.gateway.records.uploads import JobUploads, forget_uploads, upload_key
from bowerbird.gateway.records.usage import Usage
from bowerbird.gateway.records.writer import Writer

JOB_PICTURES = "jobs/"
BATCH = 500
"""Rows removed in one transaction: others may write between two."""


def picture_key(job_id: str, epoch: int, number: int) -> str:
    """Where a claim stores its picture: no other claim ever writes to the same name."""
    return f"{JOB_PICTURES}{job_id}/{epoch}-{number}"


@dataclass(frozen=True, slots=True)
class Swept:
    """How much was removed or ended."""

    expired: int
    jobs: int
    keys: int
    files: int


@dataclass(frozen=True, slots=True)
class _Gone:
    jobs: int
    keys: Sequence[str]


class Retention:
    """Ends what is overdue and removes what is old."""

    def __init__(self, database: Database, writer: Writer, pictures: PictureStore, retention_seconds: float) -> None:
        self._database = database
        self._pictures = pictures
        self._retention_ms = round(retention_seconds * 1000)
        self._uploads = JobUploads(database, pictures)
        self._events = JobEvents(database, writer)
        self._usage = Usage(database, writer)

    async def sweep(self) -> Swept:
        """What time has ended, once; raises RecordsUnavailable when it cannot be done now, and may be called again."""
        expired = await self.expire()
        removed = keys = files = 0
        while gone := await self._remove_jobs():
            await self._pictures.delete(gone.keys)
            removed += gone.jobs
            files += len(gone.keys)
        files += await self._uploads.sweep()
        while count := await self._remove_keys():
            keys += count
        while await self._usage.fold():
            pass
        return Swept(expired, removed, keys, files)

    async def expire(self) -> int:
        """Ends unfinished jobs whose time is over; a claim on one of them is void."""
        now = self._database.now()
        ending = (
            update(jobs)
            .where(jobs.c.state.in_(UNFINISHED), jobs.c.expires_ms <= now)
            .values(state=JobState.EXPIRED.value, finished_ms=now, lease_until_ms=None, events=jobs.c.events + 1)
            .returning(jobs.c.id, jobs.c.events)
        )
        async with self._database.writing() as connection:
            rows = (await connection.execute(ending)).all()
            await self._events.insert(connection, [(row.id, row.events, "expired", {}) for row in rows])
        return len(rows)

    async def remove_orphans(self) -> int:
        """Deletes the files of jobs that nothing names and nothing will; how many. It looks at every file there is."""
        removed = 0
        page: list[str] = []
        async for key in self._pictures.keys(JOB_PICTURES):
            page.append(key)
            if len(page) == BATCH:
                removed += await self._remove_unnamed(page)
                page = []
        return removed + await self._remove_unnamed(page)

    async def _remove_jobs(self) -> _Gone | None:
        """Some old jobs with all that belongs to them but their files; None when there are none."""
        old = select(jobs.c.id).where(jobs.c.finished_ms <= self._database.now() - self._retention_ms).limit(BATCH)
        async with self._database.writing() as connection:
            ids = (await connection.execute(old)).scalars().all()
            if not ids:
                return None
            naming = select(job_pictures.c.key).where(job_pictures.c.job_id.in_(ids))
            keys = (await connection.execute(naming)).scalars().all()
            removed = await connection.execute(delete(jobs).where(jobs.c.id.in_(ids)).returning(jobs.c.id))
            return _Gone(len(removed.all()), [*keys, *await forget_uploads(connection, ids)])

    async def _remove_keys(self) -> int:
        table = idempotency_keys
        old = select(table.c.tenant, table.c.key).where(table.c.expires_ms <= self._database.now()).limit(BATCH)
        async with self._database.writing() as connection:
            removing = delete(table).where(tuple_(table.c.tenant, table.c.key).in_(old)).returning(table.c.key)
            return len((await connection.execute(removing)).all())

    async def _remove_unnamed(self, keys: Iterable[str]) -> int:
        unnamed = await self._unnamed_uploads(keys)
        owners = {key: owner for key in keys if (owner := _owner(key)) is not None}
        asking = select(jobs.c.id, jobs.c.state, jobs.c.lease_epoch).where(
            jobs.c.id.in_(sorted({job_id for job_id, _ in owners.values()}))
        )
        naming = select(job_pictures.c.key).where(job_pictures.c.key.in_(sorted(owners)))
        async with self._database.reading() as connection:
            known = {row.id: row for row in (await connection.execute(asking)).all()}
            named = set((await connection.execute(naming)).scalars())
        for key, (job_id, epoch) in owners.items():
            job = known.get(job_id)
            if key not in named and (job is None or JobState(job.state).final or job.lease_epoch > epoch):
                unnamed.append(key)
        await self._pictures.delete(unnamed)
        return len(unnamed)

    async def _unnamed_uploads(self, keys: Iterable[str]) -> list[str]:
        found = {key: job_id for key in keys if key == upload_key(job_id := _job_of(key))}
        asking = select(job_uploads.c.job_id).where(job_uploads.c.job_id.in_(sorted(found.values())))
        async with self._database.reading() as connection:
            named = set((await connection.execute(asking)).scalars()) if found else set()
        return [key for key, job_id in found.items() if job_id not in named]


def _job_of(key: str) -> str:
    return key.removeprefix(JOB_PICTURES).partition("/")[0]


def _owner(key: str) -> tuple[str, int] | None:
    """The job and epoch in a file's name; None for a name that is not ours."""
    job_id, _, rest = key.removeprefix(JOB_PICTURES).partition("/")
    epoch, _, number = rest.partition("-")
    return (job_id, int(epoch)) if epoch.isdigit() and number.isdigit() else None
