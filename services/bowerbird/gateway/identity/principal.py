"""Who asks: what every later question (may it, how much, whose is this) is answered from."""

from __future__ import annotations

from dataclasses import dataclass

from bowerbird.gateway.identity.scopes import Role, Scope
from bowerbird.gateway.identity.tiers import Tier
from bowerbird.gateway.results.lookup import Cache


@dataclass(frozen=True, slots=True)
class Principal:
    """An identified caller; holds nothing that a key could be made of."""

    tenant: str
    """Whose rows, limits and pictures."""
    actor: str
    """Who exactly, as the audit log names them: `key:<id>`, `serviceaccount:<namespace>:<name>`, `local`."""
    role: Role
    scopes: frozenset[Scope]
    tier: Tier
    weight: float = 1.0
    """The tenant's share of the model."""
    cache: Cache = Cache.AUTO
    """What a request of the tenant says of stored pictures when it does not say."""
