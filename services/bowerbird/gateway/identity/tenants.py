"""Tenants: whom keys belong to; made, listed and changed by administrators.

A tenant is never deleted, only disabled: its name stands in usage, jobs and the audit log, and must not come to mean
somebody else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import case, insert, select, update
from sqlalchemy.exc import IntegrityError

from bowerbird.errors import TenantExists, TenantUnknown
from bowerbird.gateway.identity.audit import AuditLog, Author
from bowerbird.gateway.identity.tables import tenants
from bowerbird.gateway.records.database import Database
from bowerbird.gateway.results.lookup import Cache


@dataclass(frozen=True, slots=True)
class NewTenant:
    """A tenant that is to be made."""

    id: str
    name: str
    tier: str
    weight: float = 1.0
    cache: Cache = Cache.AUTO


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant as it is."""

    id: str
    name: str
    tier: str
    weight: float
    cache: Cache
    created_ms: int
    disabled_ms: int | None


class Tenants:
    """All tenants of one database."""

    def __init__(self, database: Database, audit: AuditLog) -> None:
        self._database = database
        self._audit = audit

    async def create(self, tenant: NewTenant, author: Author) -> Tenant:
        """The new tenant; raises TenantExists."""
        adding = insert(tenants).values(**asdict(tenant), created_ms=self._database.now()).returning(tenants)
        try:
            async with self._database.writing() as connection:
                made = tenant_of(dict((await connection.execute(adding)).mappings().one()))
                await self._audit.append(connection, author.change("tenant.create", made.id, None, asdict(made)))
        except IntegrityError as error:
            raise TenantExists(f"There is a tenant {tenant.id!r} already.", param="id") from error
        return made

    async def get(self, tenant_id: str) -> Tenant:
        """The tenant; raises TenantUnknown."""
        async with self._database.reading() as connection:
            row = (await connection.execute(select(tenants).where(tenants.c.id == tenant_id))).mappings().first()
        if row is None:
            raise _unknown(tenant_id)
        return tenant_of(dict(row))

    async def find(self, tenant_ids: Sequence[str]) -> Mapping[str, Tenant]:
        """The tenants of these ids; those that do not exist are left out."""
        async with self._database.reading() as connection:
            rows = (await connection.execute(select(tenants).where(tenants.c.id.in_(tenant_ids)))).mappings().all()
        return {row["id"]: tenant_of(dict(row)) for row in rows}

    async def page(self, after: str, limit: int) -> list[Tenant]:
        """Up to `limit` tenants whose id comes behind `after`, by id."""
        asking = select(tenants).where(tenants.c.id > after).order_by(tenants.c.id).limit(limit)
        async with self._database.reading() as connection:
            rows = (await connection.execute(asking)).mappings().all()
        return [tenant_of(dict(row)) for row in rows]

    async def change(self, tenant_id: str, changes: dict[str, Any], author: Author) -> Tenant:
        """The tenant with other values of name, tier, weight, cache or `disabled` (bool); raises TenantUnknown."""
        values = dict(changes)
        if "disabled" in values:  # one that is disabled already stays disabled since then
            since = case((tenants.c.disabled_ms.is_(None), self._database.now()), else_=tenants.c.disabled_ms)
            values["disabled_ms"] = since if values.pop("disabled") else None
        async with self._database.writing() as connection:
            asking = select(tenants).where(tenants.c.id == tenant_id).with_for_update()
            found = (await connection.execute(asking)).mappings().first()
            if found is None:
                raise _unknown(tenant_id)
            before = after = tenant_of(dict(found))
            if values:
                changing = update(tenants).where(tenants.c.id == tenant_id).values(**values).returning(tenants)
                after = tenant_of(dict((await connection.execute(changing)).mappings().one()))
            if after != before:
                change = author.change("tenant.change", tenant_id, asdict(before), asdict(after))
                await self._audit.append(connection, change)
        return after


def tenant_of(row: Mapping[str, Any]) -> Tenant:
    """A row as a tenant."""
    return Tenant(**{**row, "cache": Cache(row["cache"])})


def _unknown(tenant_id: str) -> TenantUnknown:
    return TenantUnknown(f"There is no tenant {tenant_id[:64]!r}.", param="tenant")
