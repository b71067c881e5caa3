"""What is to be told is written in the transaction of the fact itself, so that neither is ever there without the other.

Whoever ends something of a tenant's calls `write` with its own connection; `records.job_events` does for jobs, through
which every end of a job passes. Nothing is sent here, and nobody waits for a receiver.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Insert, String, bindparam, insert, literal, select
from sqlalchemy.ext.asyncio import AsyncConnection

from bowerbird.gateway.records.tables import jobs
from bowerbird.gateway.webhooks.events import EventType, new_event_id
from bowerbird.gateway.webhooks.tables import webhook_deliveries, webhook_endpoints, webhook_subscriptions

OF_JOBS: Mapping[str, EventType] = {
    "succeeded": EventType.IMAGE_JOB_SUCCEEDED,
    "failed": EventType.IMAGE_JOB_FAILED,
    "cancelled": EventType.IMAGE_JOB_CANCELLED,
    "expired": EventType.IMAGE_JOB_EXPIRED,
}
"""A job's final event -> what is told of it."""


@dataclass(frozen=True, slots=True)
class Announcement:
    """What has ended, and whose it was."""

    tenant: str
    type: EventType
    subject: str
    """The id by which the tenant knows it."""


async def write(connection: AsyncConnection, now: ColumnElement[int], announcements: Sequence[Announcement]) -> None:
    """One delivery for each endpoint that its tenant has for this type; `now` is the database's clock, milliseconds."""
    told = [_row(each.type, each.subject) | {"of_tenant": each.tenant} for each in announcements]
    if told:
        await connection.execute(_telling(now, of_jobs=False), told)


async def write_of_jobs(
    connection: AsyncConnection, now: ColumnElement[int], events: Sequence[tuple[str, str]]
) -> None:
    """The same for job events, (job, kind); those that end no job are told to nobody."""
    told = [_row(OF_JOBS[kind], job_id) for job_id, kind in events if kind in OF_JOBS]
    if told:
        await connection.execute(_telling(now, of_jobs=True), told)


def _row(kind: EventType, subject: str) -> dict[str, str]:
    return {"new_event": new_event_id(), "new_type": kind.value, "new_subject": subject}


@lru_cache(maxsize=4)
def _telling(now: ColumnElement[int], *, of_jobs: bool) -> Insert:
    """One statement, which takes longer to be built than to be carried out; a database has one clock for its life."""
    kind, subject = bindparam("new_type", type_=String), bindparam("new_subject", type_=String)
    owner = select(jobs.c.tenant).where(jobs.c.id == subject).scalar_subquery()
    values: dict[str, ColumnElement[Any]] = {
        "endpoint_id": webhook_endpoints.c.id,
        "event_id": bindparam("new_event", type_=String),
        "event_type": kind,
        "subject": subject,
        "created_ms": now,
        "state": literal("waiting"),
        "attempts": literal(0),
        "next_ms": now,
        "epoch": literal(0, BigInteger),
    }
    wanted = (
        select(*(value.label(name) for name, value in values.items()))
        .join(webhook_subscriptions, webhook_subscriptions.c.endpoint_id == webhook_endpoints.c.id)
        .where(
            webhook_endpoints.c.tenant == (owner if of_jobs else bindparam("of_tenant", type_=String)),
            webhook_endpoints.c.disabled_ms.is_(None),
            webhook_subscriptions.c.event_type == kind,
        )
    )
    return insert(webhook_deliveries).from_select(list(values), wanted)
