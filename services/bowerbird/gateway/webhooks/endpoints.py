"""Endpoints as their tenant manages them; another tenant's is unknown, not forbidden. Every change is in the audit log.

A secret leaves here once, in the answer that makes it. What is told after an endpoint was changed goes to where it is
now, also what waited before; what is told while it is disabled is not written down at all.
"""

from __future__ import annotations

import secrets as random
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Row, delete, func, insert, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection
from yarl import URL

from bowerbird.errors import TooManyWebhookEndpoints, WebhookEndpointUnknown
from bowerbird.gateway.identity.audit import AuditLog, Author
from bowerbird.gateway.records.database import Database
from bowerbird.gateway.webhooks.events import EventType
from bowerbird.gateway.webhooks.sealing import Sealer
from bowerbird.gateway.webhooks.signing import hint_of, make_secret, secret_text
from bowerbird.gateway.webhooks.tables import webhook_endpoints, webhook_subscriptions

MAX_ENDPOINTS = 20
"""Of one tenant; each end of a job is written down for each of them."""
MAX_ID_CHARACTERS = 40
OVERLAP_HOURS = 24
"""How long a former secret signs beside the new one, where that was asked for."""
BY_TENANT = "by_tenant"
"""Why an endpoint is disabled: its tenant did it. The other reasons are in `deliveries`."""

_KNOWN_TYPES = frozenset(each.value for each in EventType)
_OVERLAP_MS = OVERLAP_HOURS * 3_600_000
_SEEN = tuple(
    webhook_endpoints.c[name]
    for name in (
        *("id", "tenant", "name", "url", "secret_hint", "previous_until_ms", "created_ms", "updated_ms"),
        *("failing_since_ms", "disabled_ms", "disabled_reason"),
    )
)


@dataclass(frozen=True, slots=True)
class NewEndpoint:
    """An endpoint that is to be made."""

    name: str
    url: str
    event_types: frozenset[EventType]


@dataclass(frozen=True, slots=True)
class Change:
    """What is to be another than it is; None: as it is."""

    name: str | None = None
    url: str | None = None
    event_types: frozenset[EventType] | None = None
    enabled: bool | None = None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint as its tenant may see it."""

    id: str
    tenant: str
    name: str
    url: str
    secret_hint: str
    previous_until_ms: int | None
    created_ms: int
    updated_ms: int
    failing_since_ms: int | None
    disabled_ms: int | None
    disabled_reason: str | None
    event_types: tuple[EventType, ...]

    @property
    def facts(self) -> dict[str, Any]:
        """For the audit log; of the URL, whose path may be a secret, where it leads."""
        origin = str(URL(self.url).origin())
        told = {"tenant": self.tenant, "name": self.name, "origin": origin, "secret": self.secret_hint}
        return told | {"event_types": sorted(self.event_types), "enabled": self.disabled_ms is None}


@dataclass(frozen=True, slots=True)
class WithSecret:
    """An endpoint and its new secret, which is not kept in this form."""

    endpoint: Endpoint
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Receiver:
    """Where to send, and the sealed secrets to sign with."""

    endpoint_id: str
    url: str
    sealed: tuple[bytes, ...]


class Endpoints:
    """All endpoints of one database."""

    def __init__(self, database: Database, sealer: Sealer) -> None:
        self._database = database
        self._sealer = sealer
        self._audit = AuditLog(database)

    async def create(self, tenant: str, new: NewEndpoint, author: Author) -> WithSecret:
        """The new endpoint; raises TooManyWebhookEndpoints."""
        endpoint_id, secret, now = f"we_{random.token_hex(12)}", make_secret(), self._database.now()
        row = {
            "id": endpoint_id,
            "tenant": tenant,
            "name": new.name,
            "url": new.url,
            "secret": self._sealer.seal(secret, endpoint_id),
            "secret_hint": hint_of(secret),
        }
        counting = select(func.count()).where(webhook_endpoints.c.tenant == tenant)
        async with self._database.writing() as connection:
            if (await connection.scalar(counting) or 0) >= MAX_ENDPOINTS:
                raise TooManyWebhookEndpoints(f"A tenant may have {MAX_ENDPOINTS} endpoints; delete one first.")
            await connection.execute(insert(webhook_endpoints).values(**row, created_ms=now, updated_ms=now))
            await _subscribe(connection, endpoint_id, new.event_types)
            made = await _get(connection, tenant, endpoint_id)
            await self._note(connection, author, "create", None, made)
        return WithSecret(made, secret_text(secret))

    async def get(self, tenant: str, endpoint_id: str) -> Endpoint:
        """One endpoint; raises WebhookEndpointUnknown."""
        async with self._database.reading() as connection:
            return await _get(connection, tenant, endpoint_id)

    async def page(self, tenant: str, limit: int, after: str | None = None) -> tuple[list[Endpoint], bool]:
        """Up to `limit` endpoints, newest first, and whether there are more; `after` is the last one that is known."""
        table = webhook_endpoints
        asking = select(*_SEEN).where(table.c.tenant == tenant)
        async with self._database.reading() as connection:
            if after is not None:
                last = await _get(connection, tenant, after, "after")
                asking = asking.where(tuple_(table.c.created_ms, table.c.id) < (last.created_ms, last.id))
            asking = asking.order_by(table.c.created_ms.desc(), table.c.id.desc()).limit(limit + 1)
            found = await _endpoints(connection, (await connection.execute(asking)).all())
        return found[:limit], len(found) > limit

    async def change(self, tenant: str, endpoint_id: str, change: Change, author: Author) -> Endpoint:
        """The endpoint as it is then; raises WebhookEndpointUnknown."""
        async with self._database.writing() as connection:
            before = await _get(connection, tenant, endpoint_id)
            values = _values(before, change, self._database.now())
            if change.event_types is not None and change.event_types != frozenset(before.event_types):
                await connection.execute(
                    delete(webhook_subscriptions).where(webhook_subscriptions.c.endpoint_id == endpoint_id)
                )
                await _subscribe(connection, endpoint_id, change.event_types)
                values.setdefault("updated_ms", self._database.now())
            if not values:
                return before
            await connection.execute(
                update(webhook_endpoints).where(webhook_endpoints.c.id == endpoint_id).values(**values)
            )
            after = await _get(connection, tenant, endpoint_id)
            await self._note(connection, author, "update", before, after)
        return after

    async def delete(self, tenant: str, endpoint_id: str, author: Author) -> None:
        """Removes the endpoint with its deliveries, those that wait included; raises WebhookEndpointUnknown."""
        async with self._database.writing() as connection:
            gone = await _get(connection, tenant, endpoint_id)
            await connection.execute(delete(webhook_endpoints).where(webhook_endpoints.c.id == gone.id))
            await self._note(connection, author, "delete", gone, None)

    async def rotate(self, tenant: str, endpoint_id: str, overlap: bool, author: Author) -> WithSecret:
        """A new secret; with `overlap` the present one signs beside it for a day. Raises WebhookEndpointUnknown."""
        secret, now, table = make_secret(), self._database.now(), webhook_endpoints
        previous = {"previous_secret": table.c.secret, "previous_until_ms": now + _OVERLAP_MS}
        values: dict[str, Any] = previous if overlap else dict.fromkeys(previous)
        async with self._database.writing() as connection:
            before = await _get(connection, tenant, endpoint_id)
            values |= {"secret": self._sealer.seal(secret, before.id), "secret_hint": hint_of(secret)}
            await connection.execute(update(table).where(table.c.id == before.id).values(**values, updated_ms=now))
            rotated = await _get(connection, tenant, endpoint_id)
            await self._note(connection, author, "rotate_secret", before, rotated)
        return WithSecret(rotated, secret_text(secret))

    async def receiver(self, tenant: str, endpoint_id: str) -> Receiver:
        """Where a test goes; raises WebhookEndpointUnknown."""
        async with self._database.reading() as connection:
            known = await _get(connection, tenant, endpoint_id)
            return (await receivers(connection, [known.id], self._database.now()))[known.id]

    async def _note(
        self, connection: AsyncConnection, author: Author, action: str, before: Endpoint | None, after: Endpoint | None
    ) -> None:
        subject = next(each.id for each in (before, after) if each is not None)
        facts = [None if each is None else each.facts for each in (before, after)]
        await self._audit.append(connection, author.change(f"webhook_endpoint.{action}", subject, *facts))


async def receivers(
    connection: AsyncConnection, endpoint_ids: Collection[str], now: ColumnElement[int]
) -> Mapping[str, Receiver]:
    """Where to send to each of these endpoints, and what signs; a former secret only until its time is over."""
    table = webhook_endpoints
    valid = table.c.previous_until_ms > now
    asking = select(table.c.id, table.c.url, table.c.secret, table.c.previous_secret, valid.label("valid")).where(
        table.c.id.in_(sorted(endpoint_ids))
    )
    rows = (await connection.execute(asking)).all()
    return {
        row.id: Receiver(row.id, row.url, (bytes(row.secret), *((bytes(row.previous_secret),) if row.valid else ())))
        for row in rows
    }


def _values(before: Endpoint, change: Change, now: ColumnElement[int]) -> dict[str, Any]:
    """The columns that are to change."""
    values: dict[str, Any] = {
        name: wanted
        for name, wanted in (("name", change.name), ("url", change.url))
        if wanted is not None and wanted != getattr(before, name)
    }
    if change.enabled is not None and change.enabled != (before.disabled_ms is None):
        off = {"disabled_ms": now, "disabled_reason": BY_TENANT}
        values |= {"disabled_ms": None, "disabled_reason": None, "failing_since_ms": None} if change.enabled else off
    return values | {"updated_ms": now} if values else {}


async def _subscribe(connection: AsyncConnection, endpoint_id: str, kinds: Iterable[EventType]) -> None:
    rows = [{"endpoint_id": endpoint_id, "event_type": kind.value} for kind in sorted(kinds)]
    await connection.execute(insert(webhook_subscriptions), rows)


async def _get(connection: AsyncConnection, tenant: str, endpoint_id: str, param: str = "id") -> Endpoint:
    known = len(endpoint_id) <= MAX_ID_CHARACTERS and endpoint_id.isascii() and endpoint_id.isprintable()
    table = webhook_endpoints
    asking = select(*_SEEN).where(table.c.id == endpoint_id, table.c.tenant == tenant)
    found = await _endpoints(connection, (await connection.execute(asking)).all()) if known else []
    if not found:
        raise WebhookEndpointUnknown("There is no webhook endpoint of this id.", param=param)
    return found[0]


async def _endpoints(connection: AsyncConnection, rows: Sequence[Row[Any]]) -> list[Endpoint]:
    table = webhook_subscriptions
    asking = select(table.c.endpoint_id, table.c.event_type).where(table.c.endpoint_id.in_([row.id for row in rows]))
    kinds: defaultdict[str, list[EventType]] = defaultdict(list)
    for endpoint_id, kind in (await connection.execute(asking.order_by(table.c.event_type))).all() if rows else ():
        if kind in _KNOWN_TYPES:  # else a later version wrote it
            kinds[endpoint_id].append(EventType(kind))
    return [Endpoint(**row._mapping, event_types=tuple(kinds[row.id])) for row in rows]
