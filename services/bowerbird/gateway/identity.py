"""Who asks: bearer keys become tenants.

Without configured keys the gateway serves loopback only and whoever reaches it is the tenant `local`, with any key or
none. With configured keys a request needs one of them; keys are kept as SHA-256 digests and compared in constant time,
all of them each time, so that the time of an answer tells nothing about a key.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address

from bowerbird.errors import KeyInvalid
from bowerbird.settings import Settings

LOCAL_TENANT = "local"


@dataclass(frozen=True, slots=True)
class Identity:
    """The keys that are accepted, as digests; none means that everyone is `local`."""

    digests: tuple[bytes, ...]

    @classmethod
    def of_keys(cls, keys: Iterable[str]) -> Identity:
        """An identity that accepts these keys."""
        return cls(tuple(_digest(key) for key in sorted(keys)))

    def tenant(self, authorization: str | None) -> str:
        """The tenant behind an `Authorization` header; raises KeyInvalid when its key is not accepted."""
        if not self.digests:
            return LOCAL_TENANT
        scheme, _, key = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise KeyInvalid("A key is needed: send 'Authorization: Bearer <key>'.", param="Authorization")
        asked = _digest(key.strip())
        matches = [hmac.compare_digest(asked, known) for known in self.digests]
        if not any(matches):
            raise KeyInvalid("The key is not one that is accepted here.", param="Authorization")
        return f"key-{asked.hex()[:12]}"


def open_binding(settings: Settings) -> str | None:
    """What is wrong with serving at `settings.host`, or None: without keys only loopback may be bound."""
    if settings.api_keys or _is_loopback(settings.host):
        return None
    return (
        f"BOWERBIRD_HOST={settings.host} can be reached from other machines and no key is configured: set "
        "BOWERBIRD_API_KEYS to a JSON list of keys, or bind 127.0.0.1."
    )


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
