"""Carrying jobs out: claim, renew, finish. The fence: only the claim with a job's present epoch changes anything.

A claim takes jobs that wait and jobs whose replica stopped renewing, in one statement, so that two replicas never get
the same one. Whose jobs these are is a matter of turns (`turns`). Pictures and clips have turns of their own: a clip
takes minutes, and a picture must not wait for the hand that holds it.

How a claim ends is one transaction: state, result, pictures' rows, usage entry and event, or none of them.

Statements are built once: to build one takes longer than to carry it out, and a database has one clock for its life.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Integer,
    Row,
    String,
    Text,
    Update,
    bindparam,
    insert,
    select,
    tuple_,
    union_all,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.dml import ReturningUpdate

from bowerbird.contracts import WorkClass
from bowerbird.errors import JobQuarantined, error_body
from bowerbird.gateway.records.claim_order import asking_flows, claimable, flows_of, of_kind
from bowerbird.gateway.records.database import Database
from bowerbird.gateway.records.job import (
    MAX_OWN_FAILURES,
    Claim,
    Ending,
    Failure,
    JobKind,
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

_FENCING = (
    select(jobs.c.id, jobs.c.lease_epoch, jobs.c.events)
    .where(
        tuple_(jobs.c.id, jobs.c.lease_epoch).in_(bindparam("claims", expanding=True)),
        jobs.c.state == JobState.RUNNING.value,
    )
    .order_by(jobs.c.id)
    .with_for_update()
)


class Claims:
    """One replica's claims; `owner` is a name that no other process, and no earlier life of this one, has."""

    def __init__(self, database: Database, writer: Writer, owner: str) -> None:
        self._database = database
        self._writer = writer
        self._owner = owner
        self._events = JobEvents(database, writer)
        self._usage = Usage(database, writer)

    async def claim(self, limit: int, lease_seconds: float, clips: int = 0) -> list[Claim]:
        """Up to `limit` jobs of pictures and `clips` of clips, leased to this owner.

        Fewer when others claim at the same time.
        """
        flows = await self._waiting()
        turns: dict[WaitingFlow, int] = {}
        for kind, most in ((JobKind.PICTURES, limit), (JobKind.CLIP, clips)):
            turns |= take_turns([flow for flow in flows if flow.kind is kind], most)
        if not turns:
            return []
        claiming = _claiming(self._database.now(), tuple(flow.kind for flow in turns))
        given: dict[str, Any] = {"its_owner": self._owner, "lease_ms": round(lease_seconds * 1000)}
        for place, (flow, most) in enumerate(turns.items()):
            given |= {f"tenant_{place}": flow.tenant, f"class_{place}": flow.work_class.value, f"most_{place}": most}
        async with self._database.writing(lasting=False, short=True) as connection:
            rows = sorted((await connection.execute(claiming, given)).all(), key=lambda row: (row.created_ms, row.id))
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
        async with self._database.writing(lasting=False, short=True) as connection:
            rows = (await connection.execute(renewing)).all()
        return {row.id for row in rows if row.lease_epoch == epochs[row.id]}

    async def finish(self, claim: Claim, ending: Ending) -> bool:
        """Ends the claim; False, and nothing written, when it is no longer valid.

        True as well when this very claim has finished the job before: after a commit whose answer was lost, the caller
        asks again. A job's fifth failure of its own is its last.
        """
        return await self._writer.submit(self._finish, (claim, _last_one(claim, ending)))

    async def _waiting(self) -> list[WaitingFlow]:
        """Who has jobs that may be claimed, in one pass over the index."""
        async with self._database.reading() as connection:
            return flows_of((await connection.execute(asking_flows(self._database.now()))).all())

    async def _finish(self, connection: AsyncConnection, endings: Sequence[tuple[Claim, Ending]]) -> list[bool]:
        """A group by one look that locks and one statement for each table, however many end at the same time."""
        numbers = await _fence(connection, [claim for claim, _ in endings])
        ended: dict[tuple[str, int], Ending] = {}
        for claim, ending in endings:
            if (claim.job_id, claim.epoch) in numbers:
                ended.setdefault((claim.job_id, claim.epoch), ending)
        await self._end(connection, [(job, epoch, ending) for (job, epoch), ending in sorted(ended.items(), key=_key)])
        events = [(job, numbers[job, epoch] + 1, *_event(ending)) for (job, epoch), ending in ended.items()]
        await self._events.insert(connection, events)
        return [
            ended.get((claim.job_id, claim.epoch)) is ending or await _finished_before(connection, claim, ending)
            for claim, ending in endings
        ]

    async def _end(self, connection: AsyncConnection, ended: Sequence[tuple[str, int, Ending]]) -> None:
        """Writes how valid claims end, (job, epoch, ending), and what their success brought."""
        rows: dict[str, list[dict[str, Any]]] = {}
        for job_id, epoch, ending in ended:
            rows.setdefault(_event(ending)[0], []).append({"of_job": job_id, "of_epoch": epoch} | _columns(ending))
        for kind, its in rows.items():
            await connection.execute(_writing(kind, self._database.now()), its)
        won = [(job_id, ending) for job_id, _, ending in ended if isinstance(ending, Success)]
        if won:
            await self._usage.insert(connection, [ending.usage for _, ending in won])
            pictures = [
                {"job_id": job_id, "number": place, "key": each.key, "bytes": each.bytes, "digest": each.digest}
                for job_id, ending in won
                for place, each in enumerate(ending.pictures)
            ]
            await connection.execute(insert(job_pictures), pictures)


async def _fence(connection: AsyncConnection, claims: Iterable[Claim]) -> dict[tuple[str, int], int]:
    """The claims that are valid, (job, epoch) -> number of the job's last event; locked until the transaction ends.

    In the order of their ids, in which everybody locks jobs who locks several.
    """
    valid = {"claims": sorted({(each.job_id, each.epoch) for each in claims})}
    return {(row.id, row.lease_epoch): row.events for row in (await connection.execute(_FENCING, valid)).all()}


@lru_cache(maxsize=64)
def _claiming(now: ColumnElement[int], kinds: tuple[JobKind, ...]) -> ReturningUpdate[Any]:
    """Claims of so many flows of these kinds their oldest jobs, of each as many as it has turns."""
    flows = [
        select(jobs.c.id)
        .where(
            jobs.c.state.in_(UNFINISHED),
            jobs.c.tenant == bindparam(f"tenant_{place}", type_=String),
            jobs.c.work_class == bindparam(f"class_{place}", type_=String),
            of_kind(kind),
            claimable(now),
        )
        .order_by(jobs.c.created_ms, jobs.c.id)
        .limit(bindparam(f"most_{place}", type_=Integer))
        .subquery()
        for place, kind in enumerate(kinds)
    ]
    first = select(union_all(*(select(flow.c.id) for flow in flows)).subquery().c.id)
    # Locked by their own condition, not by their place in the order: PostgreSQL looks again at a row it waited for.
    mine = select(jobs.c.id).where(jobs.c.id.in_(first), claimable(now)).with_for_update(skip_locked=True)
    return (
        update(jobs)
        .where(jobs.c.id.in_(mine))
        .values(
            state=JobState.RUNNING.value,
            lease_owner=bindparam("its_owner", type_=String),
            lease_epoch=jobs.c.lease_epoch + 1,
            lease_until_ms=now + bindparam("lease_ms", type_=BigInteger),
            attempts=jobs.c.attempts + 1,
            events=jobs.c.events + 1,
        )
        .returning(jobs, (jobs.c.expires_ms - now).label("remaining_ms"))
    )


@lru_cache(maxsize=8)
def _writing(kind: str, now: ColumnElement[int]) -> Update:
    """How jobs end with this event: one statement for all of them, with `_columns` of each."""
    text, number = partial(bindparam, type_=Text), partial(bindparam, type_=BigInteger)
    values: dict[str, dict[str, Any]] = {
        "succeeded": {"state": JobState.SUCCEEDED.value, "finished_ms": now, "result": text("its_result")},
        "failed": {"state": JobState.FAILED.value, "finished_ms": now, "error": text("its_error")},
        "put_back": {
            "state": JobState.QUEUED.value,
            "not_before_ms": now + number("rest_ms"),
            "own_failures": jobs.c.own_failures + number("more_failures"),
        },
    }
    valid = jobs.c.id == bindparam("of_job"), jobs.c.lease_epoch == bindparam("of_epoch")
    return update(jobs).where(*valid).values(lease_until_ms=None, events=jobs.c.events + 1, **values[kind])


def _columns(ending: Ending) -> dict[str, Any]:
    if isinstance(ending, Success):
        return {"its_result": ending.result}
    if isinstance(ending, Failure):
        return {"its_error": json.dumps(ending.error)}
    return {"rest_ms": round(ending.rest_seconds * 1000), "more_failures": int(ending.own_failure)}


def _event(ending: Ending) -> tuple[str, Mapping[str, Any]]:
    """The event's kind and data."""
    if isinstance(ending, Success):
        return "succeeded", {}
    if isinstance(ending, Failure):
        return "failed", ending.error
    return "put_back", {"reason": ending.reason, "own_failure": ending.own_failure}


def _key(of_claim: tuple[tuple[str, int], Ending]) -> tuple[str, int]:
    return of_claim[0]


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
