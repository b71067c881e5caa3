"""What happened to a job, numbered from 1 without gaps, so that a listener may come back to any replica.

An event is written in the transaction of the fact that it tells. The number comes from the job's own row, whose lock
orders writers. The first event, `queued`, is not stored: the row itself says it, and a submit is one insert.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Insert, String, bindparam, insert, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from bowerbird.gateway.records.database import Database
from bowerbird.gateway.records.job import Claim
from bowerbird.gateway.records.tables import job_events, jobs
from bowerbird.gateway.records.writer import Writer
from bowerbird.gateway.webhooks import outbox

FIRST_EVENT = 1
"""The number of `queued`, in the row of a new job."""
PAGE_EVENTS = 500
WAITING = "waiting"
"""The phase of a job that was claimed and has not entered any."""
_LAST = (
    select(job_events.c.kind, job_events.c.data)
    .where(job_events.c.job_id == bindparam("of_job", type_=String))
    .order_by(job_events.c.number.desc())
    .limit(1)
)
_COUNTING = (
    update(jobs)
    .where(tuple_(jobs.c.id, jobs.c.lease_epoch).in_(bindparam("claims", expanding=True)), jobs.c.state == "running")
    .values(events=jobs.c.events + bindparam("more", type_=BigInteger))
    .returning(jobs.c.id, jobs.c.lease_epoch, jobs.c.events)
)


@dataclass(frozen=True, slots=True)
class JobEvent:
    """One fact of a job's life."""

    job_id: str
    number: int
    kind: str
    data: Mapping[str, Any]
    created_ms: int


class JobEvents:
    """The events of all jobs."""

    def __init__(self, database: Database, writer: Writer) -> None:
        self._database = database
        self._writer = writer

    async def note(self, claim: Claim, kind: str, data: Mapping[str, Any]) -> bool:
        """Writes down what happened to a claimed job; False, and nothing written, when the claim is no longer valid.

        It may take as long as somebody who looks on does not notice, and comes before what is written after it.
        """
        return await self._writer.submit(self._note, (claim, kind, data), lasting=False, patient=True)

    async def read(self, job_id: str, after: int, limit: int = PAGE_EVENTS) -> list[JobEvent]:
        """Up to `limit` events with a number above `after`, in order; none for a job that does not exist."""
        told: list[JobEvent] = []
        async with self._database.reading() as connection:
            if after < FIRST_EVENT:
                created_ms = await connection.scalar(select(jobs.c.created_ms).where(jobs.c.id == job_id))
                told += [] if created_ms is None else [JobEvent(job_id, FIRST_EVENT, "queued", {}, created_ms)]
            asking = (
                select(job_events)
                .where(job_events.c.job_id == job_id, job_events.c.number > after)
                .order_by(job_events.c.number)
                .limit(limit - len(told))
            )
            rows = (await connection.execute(asking)).all()
        return told + [JobEvent(row.job_id, row.number, row.kind, json.loads(row.data), row.created_ms) for row in rows]

    async def last_phase(self, job_id: str) -> str | None:
        """The phase that a running job is in, as its last event says; None where that says none."""
        found = await self._database.rows(_LAST, of_job=job_id)
        if not found:
            return None
        if found[0].kind == "running":
            return WAITING
        phase = json.loads(found[0].data).get("phase")
        return None if phase is None else str(phase)

    async def last_numbers(self, job_ids: Sequence[str]) -> dict[str, int]:
        """The number of the last event of each of these jobs; those that are gone are missing."""
        numbers: dict[str, int] = {}
        async with self._database.reading() as connection:
            for start in range(0, len(job_ids), PAGE_EVENTS):
                some = job_ids[start : start + PAGE_EVENTS]
                asking = select(jobs.c.id, jobs.c.events).where(jobs.c.id.in_(some))
                numbers |= {row.id: row.events for row in (await connection.execute(asking)).all()}
        return numbers

    async def insert(
        self, connection: AsyncConnection, events: Sequence[tuple[str, int, str, Mapping[str, Any]]]
    ) -> None:
        """Rows of (job, number, kind, data) whose numbers the caller took from the jobs' rows in this transaction.

        With the end of a job goes what its tenant's webhooks are to be told of it.
        """
        if events:
            rows = [
                {"job_id": job_id, "number": number, "kind": kind, "data": json.dumps(data)}
                for job_id, number, kind, data in events
            ]
            await connection.execute(_inserting(self._database.now()), rows)
            await outbox.write_of_jobs(connection, self._database.now(), [(each[0], each[2]) for each in events])

    async def _note(
        self, connection: AsyncConnection, notes: Sequence[tuple[Claim, str, Mapping[str, Any]]]
    ) -> list[bool]:
        """A group by two statements, however many jobs enter a phase at the same time: each has half a dozen."""
        counts = Counter((claim.job_id, claim.epoch) for claim, _, _ in notes)
        last: dict[tuple[str, int], int] = {}
        for count in sorted(set(counts.values())):  # of one job rarely more than one waits
            last |= await _count(connection, sorted(each for each, its in counts.items() if its == count), count)
        rows = []
        for claim, kind, data in notes:
            valid = claim.job_id, claim.epoch
            if valid in last:
                counts[valid] -= 1
                rows.append((claim.job_id, last[valid] - counts[valid], kind, data))
        await self.insert(connection, rows)
        return [(claim.job_id, claim.epoch) in last for claim, _, _ in notes]


@lru_cache(maxsize=4)
def _inserting(now: ColumnElement[int]) -> Insert:
    return insert(job_events).values(created_ms=now)


async def _count(
    connection: AsyncConnection, claims: Sequence[tuple[str, int]], count: int
) -> dict[tuple[str, int], int]:
    """Takes so many numbers for each of these claims, (job, epoch), that is valid; the last of them."""
    found = await connection.execute(_COUNTING, {"claims": claims, "more": count})
    return {(row.id, row.lease_epoch): row.events for row in found.all()}
