"""Carrying jobs out: claim, renew, finish. The fence: only the claim with a job's present epoch changes anything.

A claim takes jobs that wait and jobs whose replica stopped renewing, in one statement, so that two replicas never get
the same one. Whose jobs these are is a matter of turns (`turns`).

How a claim ends is one transaction: state, result, pictures' rows, usage entry and event, or none of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, and_, case, func, insert, or_, select, union_all, update
from sqlalchemy.ext.asyncio import AsyncConnection

from bowerbird.contracts import WorkClass
from bowerbird.errors import JobQuarantined, error_body
from bowerbird.gateway.records.database import Database
from bowerbird.gateway.records.job import (
    MAX_OWN_FAILURES,
    Claim,
    Ending,
    Failure,
    JobState,
    PutBack,
    Success,
)
from bowerbird.gateway.records.job_events import JobEvents
from bowerbird.gateway.records.jobs import UNFINISHED
from bowerbird.gateway.records.tables import job_pictures, jobs
from bowerbird.gateway.records.turns import WaitingFlow, take_turns
from bowerbird.gateway.records.usage import Usage
from bowerbird.gateway.records.writer import Writer


class Claims:
    """One replica's claims; `owner` is a name that no other process, and no earlier life of this one, has."""

    def __init__(self, database: Database, writer: Writer, owner: str) -> None:
        self._database = database
        self._writer = writer
        self._owner = owner
        self._events = JobEvents(database, writer)
        self._usage = Usage(database, writer)

    async def claim(self, limit: int, lease_seconds: float) -> list[Claim]:
        """Up to `limit` jobs, leased to this owner; fewer when others claim at the same time."""
        turns = take_turns(await self._waiting(), limit)
        if not turns:
            return []
        now = self._database.now()
        first = self._oldest_of(turns)
        # Locked by their own condition, not by their place in the order: PostgreSQL looks again at a row it waited for.
        mine = select(jobs.c.id).where(jobs.c.id.in_(first), self._claimable()).with_for_update(skip_locked=True)
        claiming = (
            update(jobs)
            .where(jobs.c.id.in_(mine))
            .values(
                state=JobState.RUNNING.value,
                lease_owner=self._owner,
                lease_epoch=jobs.c.lease_epoch + 1,
                lease_until_ms=now + round(lease_seconds * 1000),
                attempts=jobs.c.attempts + 1,
                events=jobs.c.events + 1,
            )
            .returning(jobs, (jobs.c.expires_ms - now).label("remaining_ms"))
        )
        async with self._database.writing() as connection:
            rows = sorted((await connection.execute(claiming)).all(), key=lambda row: (row.created_ms, row.id))
            await self._events.insert(
                connection, [(row.id, row.events, "running", {"attempt": row.attempts}) for row in rows]
            )
        return [_claim(row) for row in rows]

    async def renew(self, claims: Iterable[Claim], lease_seconds: float) -> set[str]:
        """Prolongs the leases from now; the ids of the jobs that are still claimed so. The others' work is in vain."""
        epochs = {claim.job_id: claim.epoch for claim in claims}
        renewing = (
            update(jobs)
            .where(
                jobs.c.id.in_(sorted(epochs)),
                jobs.c.state == JobState.RUNNING.value,
                jobs.c.lease_owner == self._owner,
            )
            .values(lease_until_ms=self._database.now() + round(lease_seconds * 1000))
            .returning(jobs.c.id, jobs.c.lease_epoch)
        )
        async with self._database.writing() as connection:
            rows = (await connection.execute(renewing)).all()
        return {row.id for row in rows if row.lease_epoch == epochs[row.id]}

    async def finish(self, claim: Claim, ending: Ending) -> bool:
        """Ends the claim; False, and nothing written, when it is no longer valid.

        True as well when this very claim has finished the job before: after a commit whose answer was lost, the caller
        asks again. A job's fifth failure of its own is its last.
        """
        return await self._writer.submit(self._finish, (claim, _last_one(claim, ending)))

    def _claimable(self) -> ColumnElement[bool]:
        now = self._database.now()
        waits = and_(jobs.c.state == JobState.QUEUED.value, jobs.c.not_before_ms <= now)
        left_behind = and_(jobs.c.state == JobState.RUNNING.value, jobs.c.lease_until_ms <= now)
        return and_(or_(waits, left_behind), jobs.c.expires_ms > now)

    async def _waiting(self) -> list[WaitingFlow]:
        """Who has jobs that may be claimed, in one pass over the index."""
        held = and_(jobs.c.state == JobState.RUNNING.value, jobs.c.lease_until_ms > self._database.now())
        waiting = func.sum(case((self._claimable(), 1), else_=0))
        asking = (
            select(
                jobs.c.tenant,
                jobs.c.work_class,
                waiting,
                func.sum(case((held, 1), else_=0)),
                func.min(case((self._claimable(), jobs.c.created_ms))),
            )
            .where(jobs.c.state.in_(UNFINISHED))
            .group_by(jobs.c.tenant, jobs.c.work_class)
            .having(waiting > 0)
        )
        async with self._database.reading() as connection:
            rows = (await connection.execute(asking)).all()
        return [WaitingFlow(row[0], WorkClass(row[1]), int(row[2]), int(row[3]), row[4]) for row in rows]

    def _oldest_of(self, turns: Mapping[WaitingFlow, int]) -> Select[Any]:
        """The ids of each flow's oldest jobs, as many as it has turns."""
        flows = [
            select(jobs.c.id)
            .where(
                jobs.c.state.in_(UNFINISHED),
                jobs.c.tenant == flow.tenant,
                jobs.c.work_class == flow.work_class.value,
                self._claimable(),
            )
            .order_by(jobs.c.created_ms, jobs.c.id)
            .limit(count)
            .subquery()
            for flow, count in turns.items()
        ]
        return select(union_all(*(select(flow.c.id) for flow in flows)).subquery().c.id)

    async def _finish(self, connection: AsyncConnection, endings: Sequence[tuple[Claim, Ending]]) -> list[bool]:
        outcomes = {}
        for claim, ending in sorted(endings, key=lambda each: each[0].job_id):
            outcomes[claim] = await self._finish_one(connection, claim, ending)
        return [outcomes[claim] for claim, _ in endings]

    async def _finish_one(self, connection: AsyncConnection, claim: Claim, ending: Ending) -> bool:
        kind, data, values = self._written(ending)
        fenced = (
            update(jobs)
            .where(
                jobs.c.id == claim.job_id,
                jobs.c.state == JobState.RUNNING.value,
                jobs.c.lease_epoch == claim.epoch,
            )
            .values(lease_until_ms=None, events=jobs.c.events + 1, **values)
            .returning(jobs.c.events)
        )
        number = await connection.scalar(fenced)
        if number is None:
            return await _finished_before(connection, claim, ending)
        await self._events.insert(connection, [(claim.job_id, number, kind, data)])
        if isinstance(ending, Success):
            await self._usage.insert(connection, [ending.usage])
            rows = [
                {"job_id": claim.job_id, "number": place, "key": each.key, "bytes": each.bytes, "digest": each.digest}
                for place, each in enumerate(ending.pictures)
            ]
            await connection.execute(insert(job_pictures), rows)
        return True

    def _written(self, ending: Ending) -> tuple[str, dict[str, Any], dict[str, Any]]:
        """The event's kind and data, and the columns of the job's row."""
        now = self._database.now()
        if isinstance(ending, Success):
            return "succeeded", {}, {"state": "succeeded", "finished_ms": now, "result": ending.result}
        if isinstance(ending, Failure):
            error = json.dumps(ending.error)
            return "failed", ending.error, {"state": "failed", "finished_ms": now, "error": error}
        rest = {"state": "queued", "not_before_ms": now + round(ending.rest_seconds * 1000)}
        if ending.own_failure:
            rest["own_failures"] = jobs.c.own_failures + 1
        return "put_back", {"reason": ending.reason, "own_failure": ending.own_failure}, rest


def _last_one(claim: Claim, ending: Ending) -> Ending:
    """The ending, or the quarantine where this failure is one too many."""
    if not isinstance(ending, PutBack) or not ending.own_failure or claim.own_failures + 1 < MAX_OWN_FAILURES:
        return ending
    fact = f"The job failed {MAX_OWN_FAILURES} times by its own fault, the last time with {ending.reason!r}."
    return Failure(error_body(JobQuarantined(fact, details={"reason": ending.reason})))


async def _finished_before(connection: AsyncConnection, claim: Claim, ending: Ending) -> bool:
    asking = select(jobs.c.state).where(jobs.c.id == claim.job_id, jobs.c.lease_epoch == claim.epoch)
    state = await connection.scalar(asking)
    wanted = {Success: JobState.SUCCEEDED, Failure: JobState.FAILED, PutBack: JobState.QUEUED}[type(ending)]
    return state == wanted.value


def _claim(row: Row[Any]) -> Claim:
    return Claim(
        job_id=row.id,
        tenant=row.tenant,
        epoch=row.lease_epoch,
        work_class=WorkClass(row.work_class),
        request=row.request,
        cost=row.cost,
        traceparent=row.traceparent,
        remaining_seconds=row.remaining_ms / 1000,
        attempts=row.attempts,
        own_failures=row.own_failures,
    )
