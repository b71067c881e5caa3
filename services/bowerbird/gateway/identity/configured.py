"""Keys that stand in the settings, and the gateway on loopback, where everyone is the tenant `local`.

`BOWERBIRD_API_KEYS` are tenants of their own without limits, as long as a deployment needs no more than that.
`BOWERBIRD_ADMIN_KEYS` are administrators: with one of them the first tenants and keys are made, after which it may go.
They are kept as SHA-256 digests and compared in constant time, all of them each time: unlike keys of ours they may be
short enough for the time of an answer to tell something about them.

Without any credential in the settings the gateway serves loopback only, and whoever reaches it is `local`, with any key
or none, and an administrator: it is their machine.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from ipaddress import ip_address

from bowerbird.gateway.identity.access_key import digest_of
from bowerbird.gateway.identity.principal import Principal
from bowerbird.gateway.identity.scopes import SCOPES_OF, Role
from bowerbird.gateway.identity.tiers import UNLIMITED, Tiers
from bowerbird.settings import Settings

LOCAL_TENANT = "local"


@dataclass(frozen=True, slots=True)
class ConfiguredKeys:
    """Principals by the digest of their key, and who somebody without one is."""

    principals: tuple[tuple[bytes, Principal], ...]
    local: Principal | None
    """Whoever asks, where no credential is configured; None where one is."""

    @classmethod
    def of_settings(cls, settings: Settings, tiers: Tiers) -> ConfiguredKeys:
        """Administrators' keys before others': a key in both lists is an administrator's."""
        keys = dict.fromkeys(sorted(settings.api_keys), Role.TENANT) | dict.fromkeys(settings.admin_keys, Role.ADMIN)
        principals = []
        for key, role in keys.items():
            digest = digest_of(key)
            principals.append((digest, _principal(f"key-{digest.hex()[:12]}", role, settings, tiers)))
        local = None if is_closed(settings) else _principal(LOCAL_TENANT, Role.ADMIN, settings, tiers)
        return cls(tuple(principals), local)

    def find(self, digest: bytes) -> Principal | None:
        """Whose key has this digest."""
        matches = [principal for known, principal in self.principals if hmac.compare_digest(digest, known)]
        return matches[0] if matches else None

    def of_tenant(self, tenant: str) -> Principal | None:
        """Somebody of a tenant that only the settings know."""
        everybody = [principal for _, principal in self.principals] + ([self.local] if self.local else [])
        return next((each for each in everybody if each.tenant == tenant), None)


def is_closed(settings: Settings) -> bool:
    """Whether a credential is needed: one is configured."""
    return bool(settings.api_keys or settings.admin_keys or settings.service_accounts)


def open_binding(settings: Settings) -> str | None:
    """What is wrong with serving at `settings.host`, or None: without credentials only loopback may be bound."""
    if is_closed(settings) or is_loopback(settings.host):
        return None
    return (
        f"BOWERBIRD_HOST={settings.host} can be reached from other machines and no credential is configured: set "
        "BOWERBIRD_ADMIN_KEYS or BOWERBIRD_API_KEYS to a JSON list of keys, or bind 127.0.0.1."
    )


def _principal(tenant: str, role: Role, settings: Settings, tiers: Tiers) -> Principal:
    return Principal(
        tenant=tenant,
        actor=tenant,
        role=role,
        scopes=SCOPES_OF[role],
        tier=tiers[UNLIMITED],
        weight=settings.tenant_weights.get(tenant, 1.0),
    )


def is_loopback(host: str) -> bool:
    """Whether a name or an address is this machine by itself."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
