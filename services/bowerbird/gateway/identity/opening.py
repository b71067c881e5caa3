"""All of this room in one value, opened when the app starts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from bowerbird.gateway.identity.audit import AuditLog
from bowerbird.gateway.identity.configured import ConfiguredKeys
from bowerbird.gateway.identity.identity import Identity
from bowerbird.gateway.identity.keys import AccessKeys
from bowerbird.gateway.identity.known_keys import KnownKeys, Terms
from bowerbird.gateway.identity.last_use import LastUse
from bowerbird.gateway.identity.service_accounts import open_service_accounts
from bowerbird.gateway.identity.tenants import Tenants
from bowerbird.gateway.identity.tiers import Tiers, read_tiers
from bowerbird.gateway.records.opening import Records
from bowerbird.settings import Settings


@dataclass(frozen=True, slots=True)
class Administration:
    """What administrators change, and what replicas remember of it."""

    tiers: Tiers
    tenants: Tenants
    keys: AccessKeys
    audit: AuditLog
    known: KnownKeys


@dataclass(frozen=True, slots=True)
class Identities:
    """Who asks, and who decides that."""

    identity: Identity
    administration: Administration


@asynccontextmanager
async def open_identities(settings: Settings, records: Records) -> AsyncIterator[Identities]:
    """Identity over these records, until the context ends."""
    tiers = read_tiers(settings.tiers)
    audit = AuditLog(records.database)
    keys = AccessKeys(records.database, audit)
    tenants = Tenants(records.database, audit)
    known = KnownKeys(keys, tenants, Terms(tiers, settings.tenant_weights))
    last_use = LastUse(records.database, records.writer)
    configured = ConfiguredKeys.of_settings(settings, tiers)
    async with (
        open_service_accounts(settings, known.of_tenant) as accounts,
        last_use.written(),
    ):
        yield Identities(
            Identity(configured, known, last_use, accounts),
            Administration(tiers, tenants, keys, audit, known),
        )
