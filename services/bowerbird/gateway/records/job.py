"""What a job is: its states, and the values in which the other files of this room speak of it.

    queued ──claim──► running ──finish──► succeeded | failed
      ▲  ▲               │
      │  └───put back────┤      a claim that ended without the job's fault, or with it (four times at most)
      └──lease ran out───┘      its replica died: the next claim takes it over
    queued, running ──► cancelled (the caller) | expired (24 hours are over)

A final state never changes. Every claim has an epoch of its own, and only the claim with the present epoch can finish
the job or put it back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from bowerbird.contracts import WorkClass
from bowerbird.gateway.records.usage import UsageEntry

MAX_OWN_FAILURES = 5


class JobState(StrEnum):
    """Where a job is in its life."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"

    @property
    def final(self) -> bool:
        """True when nothing will change any more."""
        return self not in (JobState.QUEUED, JobState.RUNNING)


class JobKind(StrEnum):
    """What a job draws; its id begins so."""

    PICTURES = "job"
    CLIP = "video"

    @classmethod
    def of(cls, job_id: str) -> JobKind:
        """That of the job with this id."""
        return cls.CLIP if job_id.startswith(f"{cls.CLIP}_") else cls.PICTURES


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job before it is in the database."""

    id: str
    tenant: str
    work_class: WorkClass
    request: str
    """JSON, with the redacted prompt."""
    cost: float
    """Compute units, as predicted."""
    lifetime_seconds: float
    """Not finished by then: expired."""
    traceparent: str | None = None
    person: str | None = None
    """Whom it is drawn for (`people`)."""


@dataclass(frozen=True, slots=True)
class StoredPicture:
    """A picture of a job, as its row names it."""

    key: str
    bytes: int
    digest: str


@dataclass(frozen=True, slots=True)
class Job:
    """A job as its caller may see it."""

    id: str
    tenant: str
    state: JobState
    work_class: WorkClass
    request: str
    cost: float
    created_ms: int
    expires_ms: int
    finished_ms: int | None
    attempts: int
    events: int
    result: str | None
    error: str | None


@dataclass(frozen=True, slots=True)
class Unfinished:
    """How many jobs have not ended, and since when the one waits that has waited longest."""

    queued: int
    running: int
    oldest_queued_seconds: float
    """0 when none is queued."""


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to carry out a job, while its lease lasts and until a later claim has been made."""

    job_id: str
    tenant: str
    epoch: int
    work_class: WorkClass
    request: str
    cost: float
    traceparent: str | None
    remaining_seconds: float
    """Until the job expires, when it was claimed."""
    attempts: int
    """This one included."""
    own_failures: int


@dataclass(frozen=True, slots=True)
class Success:
    """How a claim ends well: what is written in one transaction."""

    result: str
    """JSON: the answer's facts."""
    pictures: Sequence[StoredPicture]
    usage: UsageEntry


@dataclass(frozen=True, slots=True)
class Failure:
    """How a claim ends for good without pictures."""

    error: dict[str, Any]
    """The error's body, as the API states it."""


@dataclass(frozen=True, slots=True)
class PutBack:
    """How a claim ends when the job is to be tried again."""

    reason: str
    """The error's code; never a text."""
    rest_seconds: float = 0.0
    own_failure: bool = False


Ending = Success | Failure | PutBack
