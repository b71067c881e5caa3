"""A key's digest, or a tenant's name, becomes a principal: read from rows, remembered for seconds (`remembered`).

Whether a key is expired is told by the clock at each use, whatever was remembered.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from bowerbird.errors import BowerbirdError, KeyExpired, KeyInvalid, KeyRevoked, TenantDisabled
from bowerbird.gateway.identity.keys import AccessKeys, FoundKey
from bowerbird.gateway.identity.principal import Principal
from bowerbird.gateway.identity.remembered import Remembered
from bowerbird.gateway.identity.scopes import Role, Scope, effective_scopes
from bowerbird.gateway.identity.tenants import Tenant, Tenants
from bowerbird.gateway.identity.tiers import Tiers

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class _Opened:
    """What a key opens, until when on the monotonic clock; or why it opens nothing."""

    key_id: str
    principal: Principal | None
    refusal: type[BowerbirdError] | None
    expires_at: float | None


class KnownKeys:
    """Principals by digest of a key, and by tenant for callers who are known by other means."""

    def __init__(self, keys: AccessKeys, tenants: Tenants, terms: Terms, clock: Clock = time.monotonic) -> None:
        self._terms = terms
        self._clock = clock
        self._keys: Remembered[bytes, FoundKey, _Opened] = Remembered(keys.find, self._opened, clock)
        self._tenants: Remembered[str, Tenant, Tenant] = Remembered(tenants.find, lambda found, _: found, clock)

    async def identify(self, digest: bytes) -> tuple[str, Principal]:
        """The key's id and whom it stands for.

        Raises KeyInvalid, KeyExpired, KeyRevoked, TenantDisabled, or RecordsUnavailable when nobody can say.
        """
        opened = await self._keys.get(digest)
        if opened is None:
            raise unknown_key()
        if opened.refusal is not None:
            raise opened.refusal(_FACTS[opened.refusal], param="Authorization")
        if opened.principal is None or (opened.expires_at is not None and self._clock() >= opened.expires_at):
            raise KeyExpired(_FACTS[KeyExpired], param="Authorization")
        return opened.key_id, opened.principal

    def at_once(self, digest: bytes) -> tuple[str, Principal] | None:
        """What `identify` says, where that is at hand and nothing speaks against it; else None, and it says more."""
        opened = self._keys.at_once(digest)
        if opened is None or opened.refusal is not None or opened.principal is None:
            return None
        if opened.expires_at is not None and self._clock() >= opened.expires_at:
            return None
        return opened.key_id, opened.principal

    async def of_tenant(self, tenant_id: str, role: Role, actor: str) -> Principal:
        """Somebody who is not known by a key, but belongs to a tenant; raises TenantDisabled, also without a row."""
        tenant = await self._tenants.get(tenant_id)
        principal = None if tenant is None else self._terms.principal(tenant, role, None, actor)
        if principal is None:
            raise TenantDisabled(_FACTS[TenantDisabled])
        return principal

    def remembers(self, digest: bytes) -> bool:
        """Whether something is remembered of this digest: then it has been asked about as a key before."""
        return digest in self._keys

    def forget(self) -> None:
        """Everything is asked anew: a key or a tenant was changed here."""
        self._keys.forget()
        self._tenants.forget()

    def _opened(self, found: FoundKey, asked_at: float) -> _Opened:
        key, left = found.key, found.seconds_left
        if key.revoked_ms is not None:
            return _Opened(key.id, None, KeyRevoked, None)
        principal = self._terms.principal(found.tenant, key.role, key.scopes, f"key:{key.id}")
        refusal = TenantDisabled if principal is None else None
        return _Opened(key.id, principal, refusal, None if left is None else asked_at + left)


@dataclass(frozen=True, slots=True)
class Terms:
    """On which terms tenants are served here, beside their row."""

    tiers: Tiers
    weights: dict[str, float]
    """Of the settings: they win over the row's."""

    def principal(self, tenant: Tenant, role: Role, scopes: frozenset[Scope] | None, actor: str) -> Principal | None:
        """Somebody of this tenant; None when it is disabled, or its tier is not configured here."""
        tier = self.tiers.get(tenant.tier)
        if tenant.disabled_ms is not None or tier is None:
            return None
        return Principal(
            tenant=tenant.id,
            actor=actor,
            role=role,
            scopes=effective_scopes(role, scopes),
            tier=tier,
            weight=self.weights.get(tenant.id, tenant.weight),
            cache=tenant.cache,
        )


_FACTS: dict[type[BowerbirdError], str] = {
    KeyExpired: "The key has expired; ask for a new one.",
    KeyRevoked: "The key was revoked.",
    TenantDisabled: "The tenant is disabled, is not there, or has a tier that is not configured here.",
}


def unknown_key() -> KeyInvalid:
    """The answer to a key that opens nothing here."""
    return KeyInvalid("The key is not one that is accepted here.", param="Authorization")
