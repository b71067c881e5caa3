"""Jobs: cancelled, then removed with everything that any attempt at them has stored.

Rows go first and files after them: a job that can be found has its pictures. Who dies in between leaves files that no
row names; `search` finds them, and whoever takes the erasure over comes to it. Files are listed by the job, not read
from its rows: an attempt that was overtaken has some that no row ever named.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Table, delete, exists, func, select, update

from bowerbird.gateway.records.job import JobState
from bowerbird.gateway.records.job_events import JobEvents
from bowerbird.gateway.records.jobs import CHANNEL, UNFINISHED
from bowerbird.gateway.records.listening import notify
from bowerbird.gateway.records.opening import Records
from bowerbird.gateway.records.retention import JOB_PICTURES
from bowerbird.gateway.records.tables import idempotency_keys, job_events, job_pictures, job_uploads, jobs
from bowerbird.gateway.records.uploads import forget_uploads, upload_key
from bowerbird.gateway.rights.holding import PAGE, Count, Page
from bowerbird.gateway.rights.subject import Subject

AT_ONCE = 16
"""Jobs whose files are listed at the same time."""

Stopped = Callable[[str], None]
"""Hears the id of each job that was cancelled: what works on it here need not wait to find out."""

_SHOWN = (
    *(jobs.c.id, jobs.c.state, jobs.c.work_class, jobs.c.request, jobs.c.cost, jobs.c.created_ms, jobs.c.expires_ms),
    *(jobs.c.finished_ms, jobs.c.attempts, jobs.c.result, jobs.c.error),
)
_JSON = ("request", "result", "error")


class JobHolding:
    """All jobs of one database."""

    kind = "jobs"
    tables: Sequence[str] = [each.name for each in (jobs, job_events, job_pictures, job_uploads, idempotency_keys)]

    def __init__(self, records: Records, stopped: Stopped) -> None:
        self._database = records.database
        self._pictures = records.pictures
        self._events = JobEvents(records.database, records.writer)
        self._retention = records.retention
        self._stopped = stopped

    async def stop(self, subject: Subject) -> int:
        """Cancels what is queued or running; whoever carries it finds its claim void."""
        cancelled = 0
        while ended := await self._cancel(subject):
            cancelled += len(ended)
            for job_id in ended:
                self._stopped(job_id)
        return cancelled

    async def remove(self, subject: Subject, count: Count) -> None:
        """Rows, then pictures, of what has ended; and what was uploaded for jobs that are not accepted yet."""
        asking = select(jobs.c.id).where(_theirs(subject), jobs.c.state.not_in(UNFINISHED)).limit(PAGE)
        while True:
            async with self._database.reading() as connection:
                ids = (await connection.execute(asking)).scalars().all()
            if not ids:
                return await self._remove_uploads(subject, count)
            files = await self._files(ids)
            named = select(func.count()).select_from(job_pictures).where(job_pictures.c.job_id.in_(ids))
            async with self._database.writing() as connection:
                pictures = await connection.scalar(named) or 0
                gone = await connection.execute(delete(jobs).where(jobs.c.id.in_(ids)).returning(jobs.c.id))
                pictures += len(await forget_uploads(connection, ids))
                await count(connection, {"jobs": len(gone.all()), "pictures": pictures})
            await self._pictures.delete(files)

    async def search(self) -> None:
        """Of jobs that are gone."""
        await self._retention.remove_orphans()

    async def pages(self, subject: Subject) -> AsyncIterator[Page]:
        """Each job with its events and the names of its pictures in the archive."""
        last = ""
        while True:
            asking = select(*_SHOWN).where(_theirs(subject), jobs.c.id > last).order_by(jobs.c.id).limit(PAGE)
            async with self._database.reading() as connection:
                rows = (await connection.execute(asking)).mappings().all()
                ids = [row["id"] for row in rows]
                events = await connection.execute(select(job_events).where(job_events.c.job_id.in_(ids)))
                stored = await connection.execute(select(job_pictures).where(job_pictures.c.job_id.in_(ids)))
                sent = await connection.execute(select(job_uploads).where(job_uploads.c.job_id.in_(ids)))
                told, pictures = _by_job(events.mappings().all()), _by_job(stored.mappings().all())
                uploads = {each["job_id"]: each for each in sent.mappings()}
            if not rows:
                return
            keys = {_name(each): each["key"] for each in (one for of_job in pictures.values() for one in of_job)}
            keys |= {_upload_name(job_id): upload_key(job_id) for job_id in uploads}
            yield Page(
                [{**_shown(row, told, pictures), "upload": _upload(uploads.get(row["id"]))} for row in rows], keys
            )
            last = ids[-1]

    async def _cancel(self, subject: Subject) -> Sequence[str]:
        unfinished = jobs.c.state.in_(UNFINISHED)
        some = select(jobs.c.id).where(_theirs(subject), unfinished).limit(PAGE)
        ending = (
            update(jobs)
            .where(jobs.c.id.in_(some), unfinished)
            .values(
                state=JobState.CANCELLED.value,
                finished_ms=self._database.now(),
                lease_until_ms=None,
                events=jobs.c.events + 1,
            )
            .returning(jobs.c.id, jobs.c.events)
        )
        async with self._database.writing() as connection:
            rows = (await connection.execute(ending)).all()
            await self._events.insert(connection, [(row.id, row.events, "cancelled", {}) for row in rows])
            await notify(connection, CHANNEL)
        return [row.id for row in rows]

    async def _remove_uploads(self, subject: Subject, count: Count) -> None:
        theirs = _theirs(subject, job_uploads)
        no_jobs = ~exists().where(jobs.c.id == job_uploads.c.job_id)
        async with self._database.writing() as connection:
            ids = (await connection.execute(select(job_uploads.c.job_id).where(theirs, no_jobs))).scalars().all()
            keys = await forget_uploads(connection, ids)
            if keys:
                await count(connection, {"pictures": len(keys)})
        await self._pictures.delete(keys)

    async def _files(self, job_ids: Sequence[str]) -> list[str]:
        found: list[str] = []
        for start in range(0, len(job_ids), AT_ONCE):
            some = job_ids[start : start + AT_ONCE]
            for keys in await asyncio.gather(*map(self._files_of, some)):
                found += keys
        return found

    async def _files_of(self, job_id: str) -> list[str]:
        return [key async for key in self._pictures.keys(f"{JOB_PICTURES}{job_id}/")]


def _theirs(subject: Subject, of: Table = jobs) -> ColumnElement[bool]:
    theirs: ColumnElement[bool] = of.c.tenant == subject.tenant
    return theirs if subject.person is None else theirs & (of.c.person == subject.person)


def _by_job(rows: Sequence[Mapping[Any, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    found: dict[str, list[Mapping[str, Any]]] = {}
    for row in sorted(rows, key=lambda each: int(each["number"])):
        found.setdefault(row["job_id"], []).append(dict(row))
    return found


def _shown(
    row: Mapping[Any, Any],
    events: Mapping[str, Sequence[Mapping[str, Any]]],
    pictures: Mapping[str, Sequence[Mapping[str, Any]]],
) -> Mapping[str, Any]:
    job_id = row["id"]
    read = {name: None if row[name] is None else json.loads(row[name]) for name in _JSON}
    told = [
        {"number": each["number"], "kind": each["kind"], "data": json.loads(each["data"]), "at_ms": each["created_ms"]}
        for each in events.get(job_id, ())
    ]
    files = [
        {"file": _name(each), "bytes": each["bytes"], "digest": each["digest"]} for each in pictures.get(job_id, ())
    ]
    return {**row, **read, "events": told, "pictures": files}


def _name(picture: Mapping[str, Any]) -> str:
    return f"pictures/{picture['job_id']}-{picture['number']}"


def _upload(row: Mapping[Any, Any] | None) -> Mapping[str, Any] | None:
    """The picture that a job begins with."""
    if row is None:
        return None
    return {"file": _upload_name(row["job_id"]), "bytes": row["bytes"], "digest": row["digest"]}


def _upload_name(job_id: str) -> str:
    return f"pictures/{job_id}-upload"
