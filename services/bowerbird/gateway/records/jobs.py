"""Jobs as callers see them: submit, get, list, cancel. Who carries them out uses `claims.Claims`.

A submit has happened when it returns: job and idempotency key are one transaction, in a group with others'
(`writer`). Every question names the tenant; another tenant's job is unknown, not forbidden.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Insert,
    Select,
    String,
    bindparam,
    delete,
    func,
    insert,
    select,
    tuple_,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from bowerbird.contracts import WorkClass
from bowerbird.errors import JobFinished, JobUnknown
from bowerbird.gateway.records.cursor import read_cursor, write_cursor
from bowerbird.gateway.records.database import Database
from bowerbird.gateway.records.idempotency import IdempotencyKeys, KeyedRequest, KeyTarget, Remembered
from bowerbird.gateway.records.job import Job, JobState, NewJob, StoredPicture, Unfinished
from bowerbird.gateway.records.job_events import FIRST_EVENT, JobEvents
from bowerbird.gateway.records.listening import notify
from bowerbird.gateway.records.reader import GroupedReads
from bowerbird.gateway.records.tables import job_pictures, jobs
from bowerbird.gateway.records.uploads import forget_uploads
from bowerbird.gateway.records.writer import Writer

CHANNEL = "bowerbird_jobs_ended"
"""On which carriers in other replicas hear that claims became void."""
MAX_PAGE = 100
MAX_ID_CHARACTERS = 40
UNFINISHED = (JobState.QUEUED.value, JobState.RUNNING.value)
_QUEUED = select(func.count()).select_from(jobs).where(jobs.c.state == JobState.QUEUED.value)
_QUEUED_OF = _QUEUED.where(jobs.c.tenant == bindparam("of_tenant", type_=String))
_UNKNOWN = "There is no job of this id."

_SEEN = (
    *(jobs.c.id, jobs.c.tenant, jobs.c.state, jobs.c.work_class, jobs.c.request, jobs.c.cost),
    *(jobs.c.created_ms, jobs.c.expires_ms, jobs.c.finished_ms),
    *(jobs.c.attempts, jobs.c.events, jobs.c.result, jobs.c.error),
)

_BY_ID = select(*_SEEN).where(jobs.c.id.in_(bindparam("ids", expanding=True)))
"""Made once: to make it takes longer than to be answered."""
_ONE = select(*_SEEN).where(jobs.c.id == bindparam("id"))


@dataclass(frozen=True, slots=True)
class Submission:
    """A new job, and the key under which it may have been submitted before."""

    job: NewJob
    key: KeyedRequest | None = None


@dataclass(frozen=True, slots=True)
class JobPage:
    """Some of a tenant's jobs, newest first, and the cursor of the next page when there is one."""

    jobs: Sequence[Job]
    next_cursor: str | None


class Jobs:
    """Every job that was accepted and not yet swept away."""

    def __init__(self, database: Database, writer: Writer, keys: IdempotencyKeys, cursor_secret: bytes) -> None:
        self._database = database
        self._writer = writer
        self._keys = keys
        self._events = JobEvents(database, writer)
        self._cursor_secret = cursor_secret
        self._rows: GroupedReads[str, Job] = GroupedReads(self._read)
        self._row = database.point_read(_ONE)

    async def submit(self, job: NewJob, key: KeyedRequest | None = None) -> Remembered:
        """Accepts the job, or finds what its key stands for already (`job_id` is then another one's).

        Raises IdempotencyKeyReused, and RecordsUnavailable: when the connection broke in the commit itself the job may
        have been accepted all the same, and the caller's next request under the same key finds it.
        """
        remembered = await self._writer.submit(self._insert, Submission(job, key))
        return remembered if key is None else remembered.must_be(key)

    async def get(self, tenant: str, job_id: str) -> Job:
        """One job; raises JobUnknown."""
        job = self.at_once(tenant, job_id) or await self._rows.get(_id(job_id))
        if job is None or job.tenant != tenant:
            raise JobUnknown(_UNKNOWN, param="id")
        return job

    def at_once(self, tenant: str, job_id: str) -> Job | None:
        """One job, where its row is at hand; else None, and `get` says more. Raises JobUnknown for another tenant's."""
        row = None if self._row is None else self._row.row(_id(job_id))
        if row is not None and row["tenant"] != tenant:
            raise JobUnknown(_UNKNOWN, param="id")
        return None if row is None else _job(row)

    async def page(self, tenant: str, limit: int, cursor: str | None = None) -> JobPage:
        """Up to `limit` of a tenant's jobs; raises RequestInvalid for a cursor that is not this tenant's."""
        asking: Select[Any] = select(*_SEEN).where(jobs.c.tenant == tenant)
        if cursor is not None:
            last = read_cursor(self._cursor_secret, tenant, cursor)
            asking = asking.where(tuple_(jobs.c.created_ms, jobs.c.id) < last)
        asking = asking.order_by(jobs.c.created_ms.desc(), jobs.c.id.desc()).limit(limit + 1)
        async with self._database.reading() as connection:
            found = [_job(row._mapping) for row in (await connection.execute(asking)).all()]
        shown = found[:limit]
        if len(found) <= limit:
            return JobPage(shown, None)
        return JobPage(shown, write_cursor(self._cursor_secret, tenant, shown[-1].created_ms, shown[-1].id))

    async def of_kind(
        self, tenant: str, kind: str, limit: int, after: str | None = None, *, newest_first: bool = True
    ) -> tuple[Sequence[Job], bool]:
        """Up to `limit` of a tenant's jobs whose ids begin with `kind`, behind the one named `after`; are there more?

        Raises JobUnknown where that one is not there (any more).
        """
        place = tuple_(jobs.c.created_ms, jobs.c.id)
        asking: Select[Any] = select(*_SEEN).where(
            jobs.c.tenant == tenant, jobs.c.id.startswith(f"{kind}_", autoescape=True)
        )
        async with self._database.reading() as connection:
            if after is not None:
                last = await _get(connection, tenant, _id(after))
                behind = tuple_(last.created_ms, last.id)
                asking = asking.where(place < behind if newest_first else place > behind)
            columns = (jobs.c.created_ms, jobs.c.id)
            asking = asking.order_by(*(each.desc() if newest_first else each.asc() for each in columns))
            rows = (await connection.execute(asking.limit(limit + 1))).all()
        found = [_job(row._mapping) for row in rows]
        return found[:limit], len(found) > limit

    async def remove(self, tenant: str, job_id: str) -> list[str]:
        """Forgets a job with all that belongs to it but its files, whose names it returns; raises JobUnknown.

        Who carries it out finds its claim void, and removes what that has stored.
        """
        async with self._database.writing() as connection:
            await _get(connection, tenant, _id(job_id))
            naming = select(job_pictures.c.key).where(job_pictures.c.job_id == job_id)
            keys = (await connection.execute(naming)).scalars().all()
            await connection.execute(delete(jobs).where(jobs.c.id == job_id))
            await notify(connection, CHANNEL)
            return [*keys, *await forget_uploads(connection, [job_id])]

    async def pictures(self, job_id: str) -> list[StoredPicture]:
        """The pictures of a finished job, in the order of the answer."""
        asking = (
            select(job_pictures.c.key, job_pictures.c.bytes, job_pictures.c.digest)
            .where(job_pictures.c.job_id == job_id)
            .order_by(job_pictures.c.number)
        )
        async with self._database.reading() as connection:
            return [StoredPicture(*row) for row in (await connection.execute(asking)).all()]

    async def cancel(self, tenant: str, job_id: str) -> Job:
        """Ends an unfinished job; who carries it out finds its claim void. Raises JobUnknown or JobFinished."""
        async with self._database.writing() as connection:
            ending = (
                update(jobs)
                .where(jobs.c.id == _id(job_id), jobs.c.tenant == tenant, jobs.c.state.in_(UNFINISHED))
                .values(
                    state=JobState.CANCELLED.value,
                    finished_ms=self._database.now(),
                    lease_until_ms=None,
                    events=jobs.c.events + 1,
                )
                .returning(*_SEEN)
            )
            row = (await connection.execute(ending)).first()
            if row is None:
                state = (await _get(connection, tenant, job_id)).state
                fact = f"The job is {state} already: there is nothing to cancel."
                raise JobFinished(fact, param="id", details={"state": state})
            job = _job(row._mapping)
            await self._events.insert(connection, [(job.id, job.events, job.state, {})])
            await notify(connection, CHANNEL)
            return job

    async def queued(self, tenant: str | None = None) -> int:
        """How many jobs wait, of one tenant or of all."""
        if tenant is None:
            return int((await self._database.rows(_QUEUED))[0][0])
        return int((await self._database.rows(_QUEUED_OF, of_tenant=tenant))[0][0])

    async def unfinished(self) -> Unfinished:
        """What has not ended, of all tenants, in one pass over the index."""
        asking = (
            select(jobs.c.state, func.count(), self._database.now() - func.min(jobs.c.created_ms))
            .where(jobs.c.state.in_(UNFINISHED))
            .group_by(jobs.c.state)
        )
        async with self._database.reading() as connection:
            found = {row[0]: (int(row[1]), row[2] / 1000) for row in (await connection.execute(asking)).all()}
        queued, seconds = found.get(JobState.QUEUED.value, (0, 0.0))
        return Unfinished(queued, found.get(JobState.RUNNING.value, (0, 0.0))[0], max(0.0, seconds))

    async def _read(self, job_ids: Sequence[str]) -> dict[str, Job]:
        rows = await self._database.rows(_BY_ID, ids=job_ids)
        return {row.id: _job(row._mapping) for row in rows}

    async def _insert(self, connection: AsyncConnection, submissions: Sequence[Submission]) -> list[Remembered]:
        """Keys first: they decide which jobs are new (the foreign key is checked at the commit)."""
        targets = [KeyTarget(each.key, job_id=each.job.id) for each in submissions if each.key is not None]
        found = iter(await self._keys.insert(connection, targets) if targets else ())
        outcomes = [Remembered(b"", each.job.id, None) if each.key is None else next(found) for each in submissions]
        new = [each.job for each, found_ in zip(submissions, outcomes, strict=True) if found_.job_id == each.job.id]
        if new:
            await connection.execute(_inserting(self._database.now()), [_new_row(job) for job in new])
        return outcomes


@lru_cache(maxsize=4)
def _inserting(now: ColumnElement[int]) -> Insert:
    """A new job's row; a database has one clock for its life."""
    return insert(jobs).values(
        state=JobState.QUEUED.value,
        events=FIRST_EVENT,
        created_ms=now,
        not_before_ms=now,
        expires_ms=now + bindparam("lifetime_ms", type_=BigInteger),
    )


def _id(stated: str) -> str:
    """An id that may be asked for; raises JobUnknown for what no database takes as text."""
    if len(stated) > MAX_ID_CHARACTERS or not (stated.isascii() and stated.isprintable()):
        raise JobUnknown(_UNKNOWN, param="id")
    return stated


async def _get(connection: AsyncConnection, tenant: str, job_id: str) -> Job:
    asking = select(*_SEEN).where(jobs.c.id == job_id, jobs.c.tenant == tenant)
    row = (await connection.execute(asking)).first()
    if row is None:
        raise JobUnknown(_UNKNOWN, param="id")
    return _job(row._mapping)


def _job(seen: Mapping[Any, Any]) -> Job:
    return Job(**{**seen, "state": JobState(seen["state"]), "work_class": WorkClass(seen["work_class"])})


def _new_row(job: NewJob) -> dict[str, Any]:
    return {
        "id": job.id,
        "tenant": job.tenant,
        "work_class": job.work_class.value,
        "request": job.request,
        "cost": job.cost,
        "traceparent": job.traceparent,
        "person": job.person,
        "lifetime_ms": round(job.lifetime_seconds * 1000),
    }
