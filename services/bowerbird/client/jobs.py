"""`/v1/jobs`: what was accepted, how far it is, and its end before its time; its pictures are in `pictures`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from bowerbird.client.calls import (
    Call,
    Heard,
    Listening,
    Page,
    Received,
    Value,
    get,
    next_cursor,
    page_of,
    step,
    value_of,
)
from bowerbird.errors import StageBroken

JOBS = "/v1/jobs"
FINAL = frozenset({"succeeded", "failed", "cancelled", "expired"})


class Job(Value):
    """A job as the gateway last knew it."""

    id: str
    status: str
    """queued, running, succeeded, failed, cancelled or expired."""
    created_at: int
    """Unix seconds, as every `…_at`."""
    expires_at: int
    finished_at: int | None
    compute_units: float
    attempts: int
    phase: str | None
    position: int | None
    """In the queue; 1 is next."""
    eta_seconds: float | None
    """Until it leaves the queue."""
    reason: str | None
    """What keeps a stage that it needs from waking."""
    error: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class JobEvent:
    """What happened to a job, or, where `kind` is heartbeat, how it is while nothing does."""

    kind: str
    """queued, running, phase, heartbeat, …; the last one is succeeded, failed, cancelled or expired."""
    phase: str | None
    """The stage it is in, or waiting."""
    position: int | None
    """In the queue; 1 is next."""
    eta_seconds: float | None
    """Until it leaves the queue."""


def get_job(job_id: str) -> Call[Job]:
    """`GET /v1/jobs/{job}`."""
    return get(f"{JOBS}/{step(job_id)}", value_of(Job))


def list_jobs(limit: int | None = None, after: str | None = None) -> Call[Page[Job]]:
    """`GET /v1/jobs`, newest first."""
    return get(JOBS, page_of(Job, next_cursor), limit=limit, after=after)


def cancel_job(job_id: str) -> Call[Job]:
    """`DELETE /v1/jobs/{job}`; raises JobFinished when it has ended, however."""
    return Call("DELETE", f"{JOBS}/{step(job_id)}", value_of(Job))


def job_events(job_id: str) -> Listening[JobEvent]:
    """`GET /v1/jobs/{job}/events`, to the end of the job."""
    call = Call("GET", f"{JOBS}/{step(job_id)}/events", _nothing, repeatable=True)
    return Listening(call, _event, resumed_by_id=True)


def _event(kind: str, event_id: str, data: str) -> Heard[JobEvent]:
    try:
        facts = json.loads(data)
        event = JobEvent(kind, facts.get("phase"), facts.get("position"), facts.get("eta_seconds"))
        number = None if kind == "heartbeat" else int(event_id)
    except (AttributeError, ValueError, RecursionError) as error:
        raise StageBroken("The stream says something that is no event of a job.") from error
    return Heard(event, number, kind in FINAL)


def _nothing(_: Received) -> None:
    """A stream has no body of its own."""
