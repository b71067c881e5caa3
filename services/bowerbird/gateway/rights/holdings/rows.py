"""Rooms that keep rows only, and whose each row is."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, Select, Table, or_, select

from bowerbird.gateway.feedback.tables import feedback
from bowerbird.gateway.limits.table import limit_slots, limit_windows
from bowerbird.gateway.records.database import Database
from bowerbird.gateway.records.tables import idempotency_keys, jobs
from bowerbird.gateway.rights.holding import Rows
from bowerbird.gateway.rights.subject import Subject
from bowerbird.gateway.rights.tables import exports
from bowerbird.gateway.webhooks.tables import webhook_deliveries, webhook_endpoints


def of_people(database: Database) -> Sequence[Rows]:
    """Rows that may be about a person; before jobs, by which some of them are known."""
    return (
        Rows(database, "feedback", feedback, _feedback, frozenset({"tenant", "person"})),
        Rows(database, "idempotency_keys", idempotency_keys, _keys, frozenset({"tenant", "person", "request_digest"})),
        Rows(database, "exports", exports, lambda subject: _named(exports, subject), frozenset({"flow", "person"})),
    )


def of_tenants(database: Database) -> Sequence[Rows]:
    """Rows that are a tenant's, and no person's: deliveries hold ids, and go with their endpoint."""
    secrets = frozenset({"secret", "previous_secret"})
    return (
        Rows(database, "webhook_deliveries", webhook_deliveries, _deliveries, removes=False),
        Rows(database, "webhook_endpoints", webhook_endpoints, lambda each: _tenants(webhook_endpoints, each), secrets),
        Rows(database, "limit_windows", limit_windows, lambda each: _tenants(limit_windows, each)),
        Rows(database, "limit_slots", limit_slots, lambda each: _tenants(limit_slots, each)),
    )


def _tenants(table: Table, subject: Subject) -> ColumnElement[bool] | None:
    return table.c.tenant == subject.tenant if subject.person is None else None


def _named(table: Table, subject: Subject) -> ColumnElement[bool]:
    theirs: ColumnElement[bool] = table.c.tenant == subject.tenant
    return theirs if subject.person is None else theirs & (table.c.person == subject.person)


def _of_their_jobs(subject: Subject) -> Select[tuple[str]]:
    return select(jobs.c.id).where(_named(jobs, subject))


def _feedback(subject: Subject) -> ColumnElement[bool]:
    """What they said, and what anybody said of what was drawn for them."""
    if subject.person is None:
        return _named(feedback, subject)
    about = (feedback.c.tenant == subject.tenant) & feedback.c.request_id.in_(_of_their_jobs(subject))
    return or_(_named(feedback, subject), about)


def _keys(subject: Subject) -> ColumnElement[bool]:
    if subject.person is None:
        return _named(idempotency_keys, subject)
    return or_(_named(idempotency_keys, subject), idempotency_keys.c.job_id.in_(_of_their_jobs(subject)))


def _deliveries(subject: Subject) -> ColumnElement[bool] | None:
    endpoints = _tenants(webhook_endpoints, subject)
    if endpoints is None:
        return None
    return webhook_deliveries.c.endpoint_id.in_(select(webhook_endpoints.c.id).where(endpoints))
