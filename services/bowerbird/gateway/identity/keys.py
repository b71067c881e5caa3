"""Keys as rows: issued, rotated with overlap, revoked, found by their digest.

A key's text is in `Issued`, once, for the answer that shows it; the row has its digest. Rotation makes a second key of
the same tenant, role and scopes, and lets the first one work for a while longer: a team changes its key without a
moment in which it has none that works.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from sqlalchemy import RowMapping, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from bowerbird.errors import KeyEnded, KeyUnknown, TenantUnknown
from bowerbird.gateway.identity.access_key import make_key
from bowerbird.gateway.identity.audit import AuditLog, Author
from bowerbird.gateway.identity.scopes import Role, Scope
from bowerbird.gateway.identity.tables import access_keys, tenants
from bowerbird.gateway.identity.tenants import Tenant, tenant_of
from bowerbird.gateway.records.database import Database


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that is to be made."""

    tenant: str
    name: str
    role: Role = Role.TENANT
    scopes: frozenset[Scope] | None = None
    """None: all that the role may."""
    lifetime_seconds: float | None = None
    """None: until it is revoked."""


@dataclass(frozen=True, slots=True)
class AccessKey:
    """A key as it is kept, without what would open anything."""

    id: str
    tenant: str
    name: str
    prefix: str
    role: Role
    scopes: frozenset[Scope] | None
    created_ms: int
    expires_ms: int | None
    revoked_ms: int | None
    last_used_ms: int | None
    replaced_by: str | None

    def state(self) -> dict[str, Any]:
        """What the audit log keeps of it."""
        facts = asdict(self) | {"scopes": None if self.scopes is None else sorted(self.scopes)}
        del facts["last_used_ms"]  # is nobody's change
        return facts


@dataclass(frozen=True, slots=True)
class Issued:
    """A new key and, this once, its text."""

    key: AccessKey
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class FoundKey:
    """What a digest was found to be."""

    key: AccessKey
    tenant: Tenant
    seconds_left: float | None
    """Until it expires by the database's clock; not above 0 when it has. None: never."""


_KEY_COLUMNS = [column for column in access_keys.c if column.name != "digest"]


class AccessKeys:
    """All keys of one database."""

    def __init__(self, database: Database, audit: AuditLog) -> None:
        self._database = database
        self._audit = audit

    async def issue(self, new: NewKey, author: Author) -> Issued:
        """A new key; raises TenantUnknown."""
        async with self._database.writing() as connection:
            known = await connection.scalar(select(tenants.c.id).where(tenants.c.id == new.tenant))
            if known is None:
                raise TenantUnknown(f"There is no tenant {new.tenant[:64]!r}.", param="tenant")
            lifetime = new.lifetime_seconds
            expires = None if lifetime is None else self._database.now() + round(lifetime * 1000)
            facts = {"tenant": new.tenant, "name": new.name, "role": new.role, "scopes": _scopes_json(new.scopes)}
            issued = await self._insert(connection, {**facts, "expires_ms": expires})
            change = author.change("key.issue", issued.key.id, None, issued.key.state())
            await self._audit.append(connection, change)
        return issued

    async def rotate(
        self, key_id: str, overlap_seconds: float, lifetime_seconds: float | None, author: Author
    ) -> Issued:
        """A key in place of this one, which goes on for `overlap_seconds`; raises KeyUnknown, or KeyEnded."""
        async with self._database.writing() as connection:
            before = await self._locked(connection, key_id)
            now: int = await connection.scalar(select(self._database.now()))  # type: ignore[assignment]
            if before.revoked_ms is not None or before.replaced_by or (before.expires_ms or now + 1) <= now:
                raise KeyEnded("The key is revoked, expired or rotated already; issue a new one.", param="key")
            facts = {"tenant": before.tenant, "name": before.name, "role": before.role}
            expires = None if lifetime_seconds is None else now + round(lifetime_seconds * 1000)
            terms = {"scopes": _scopes_json(before.scopes), "expires_ms": expires}
            issued = await self._insert(connection, facts | terms)
            ends = min(now + round(overlap_seconds * 1000), before.expires_ms or 2**62)
            after = await self._update(connection, key_id, {"expires_ms": ends, "replaced_by": issued.key.id})
            for change in (
                author.change("key.issue", issued.key.id, None, issued.key.state()),
                author.change("key.rotate", key_id, before.state(), after.state()),
            ):
                await self._audit.append(connection, change)
        return issued

    async def revoke(self, key_id: str, author: Author) -> AccessKey:
        """The key, which works no more; one that was revoked before stays so since then. Raises KeyUnknown."""
        async with self._database.writing() as connection:
            before = await self._locked(connection, key_id)
            if before.revoked_ms is not None:
                return before
            after = await self._update(connection, key_id, {"revoked_ms": self._database.now()})
            await self._audit.append(connection, author.change("key.revoke", key_id, before.state(), after.state()))
        return after

    async def get(self, key_id: str) -> AccessKey:
        """The key of this id; raises KeyUnknown."""
        asking = select(*_KEY_COLUMNS).where(access_keys.c.id == key_id)
        async with self._database.reading() as connection:
            row = (await connection.execute(asking)).mappings().first()
        if row is None:
            raise _unknown(key_id)
        return _key(row)

    async def page(self, tenant: str | None, after: str, limit: int) -> list[AccessKey]:
        """Up to `limit` keys, of one tenant or of all, whose id comes behind `after`, by id."""
        asking = select(*_KEY_COLUMNS).where(access_keys.c.id > after).order_by(access_keys.c.id).limit(limit)
        if tenant is not None:
            asking = asking.where(access_keys.c.tenant == tenant)
        async with self._database.reading() as connection:
            rows = (await connection.execute(asking)).mappings().all()
        return [_key(row) for row in rows]

    async def find(self, digests: Sequence[bytes]) -> Mapping[bytes, FoundKey]:
        """What these digests are; those that are no key's are left out."""
        asking = (
            select(
                access_keys,
                *(column.label(f"tenant_{column.name}") for column in tenants.c),
                (access_keys.c.expires_ms - self._database.now()).label("left_ms"),
            )
            .join(tenants, tenants.c.id == access_keys.c.tenant)
            .where(access_keys.c.digest.in_(digests))
        )
        async with self._database.reading() as connection:
            rows = (await connection.execute(asking)).mappings().all()
        return {bytes(row["digest"]): _found(row) for row in rows}

    async def _insert(self, connection: AsyncConnection, facts: Mapping[str, Any]) -> Issued:
        fresh = make_key()
        row = {"id": f"key_{secrets.token_hex(12)}", "prefix": fresh.prefix, "digest": fresh.digest, **facts}
        adding = insert(access_keys).values(**row, created_ms=self._database.now()).returning(*_KEY_COLUMNS)
        return Issued(_key((await connection.execute(adding)).mappings().one()), fresh.text)

    async def _update(self, connection: AsyncConnection, key_id: str, values: Mapping[str, Any]) -> AccessKey:
        changing = update(access_keys).where(access_keys.c.id == key_id).values(**values).returning(*_KEY_COLUMNS)
        return _key((await connection.execute(changing)).mappings().one())

    async def _locked(self, connection: AsyncConnection, key_id: str) -> AccessKey:
        asking = select(*_KEY_COLUMNS).where(access_keys.c.id == key_id).with_for_update()
        row = (await connection.execute(asking)).mappings().first()
        if row is None:
            raise _unknown(key_id)
        return _key(row)


def _key(row: RowMapping) -> AccessKey:
    facts = {column.name: row[column.name] for column in _KEY_COLUMNS}
    scopes = facts["scopes"]
    # A scope that a later version does not have any more is nothing that can be allowed.
    listed = None if scopes is None else frozenset(Scope) & frozenset(json.loads(scopes))
    return AccessKey(**{**facts, "role": Role(facts["role"]), "scopes": listed})


def _found(row: RowMapping) -> FoundKey:
    left_ms = row["left_ms"]
    tenant = tenant_of({column.name: row[f"tenant_{column.name}"] for column in tenants.c})
    return FoundKey(_key(row), tenant, None if left_ms is None else left_ms / 1000)


def _scopes_json(scopes: frozenset[Scope] | None) -> str | None:
    return None if scopes is None else json.dumps(sorted(scopes))


def _unknown(key_id: str) -> KeyUnknown:
    return KeyUnknown(f"There is no key {key_id[:64]!r}.", param="key")
