"""All limits of one tenant in one replica: whether a request may come in, and what is said of the limits in headers.

The headers are those of draft-ietf-httpapi-ratelimit-headers-11: a policy's quota `q` in a window of `w` seconds, or of
what is there at a time (`qu`); what remains, `r`, until `t` seconds from now.
"""

from __future__ import annotations

import math

from bowerbird.errors import LimitReached
from bowerbird.gateway.identity.tiers import Limit, Tier
from bowerbird.gateway.limits.share import Share
from bowerbird.gateway.limits.slots import Slots

CONCURRENT = "concurrent-requests"
SLOT_RETRY_SECONDS = 1
"""When a request of the tenant is answered, another may come in; there is no saying when."""


class Account:
    """One tenant's shares and slots, by its tier."""

    __slots__ = ("_policy", "requests", "shares", "slots", "tenant", "tier", "units", "used_at")

    def __init__(self, tenant: str, tier: Tier) -> None:
        self.tenant = tenant
        self.tier = tier
        self.requests = tuple(Share(limit) for limit in tier.request_limits)
        self.units = Share(tier.unit_limit) if tier.unit_limit else None
        self.shares = self.requests if self.units is None else (*self.requests, self.units)
        """Of every window that is counted."""
        self.slots = Slots(tier.concurrent_requests) if tier.concurrent_requests else None
        self.used_at = 0.0
        self._policy = _policy(tier)

    def lacking(self, now: float) -> list[Share] | None:
        """None when one more request is within all windows, which it is counted in then; else where more is needed.

        Raises LimitReached where windows have nothing left, for anybody; about the one that is longest in the way.
        """
        lacking = [share for share in self.requests if not share.has(1.0, now)]
        if not lacking:
            for share in self.requests:
                share.spend(1.0)
            return None
        hopeless = [share for share in lacking if share.hopeless(1.0)]
        if hopeless:
            raise reached(max(hopeless, key=lambda share: share.until), now)
        return lacking

    def headers(self, now: float) -> list[tuple[bytes, bytes]]:
        """`RateLimit-Policy` and `RateLimit`."""
        told = []
        for share in self.shares:
            if now < share.until:
                told.append(f"{share.label}{int(share.remaining())};t={math.ceil(share.until - now)}")
            else:
                told.append(f"{share.label}{int(share.limit.quota)};t={share.limit.seconds}")
        if self.slots is not None:
            told.append(f'"{CONCURRENT}";r={max(0, self.slots.quota - self.slots.in_use)}')
        return [(b"ratelimit-policy", self._policy), (b"ratelimit", ", ".join(told).encode())]


def reached(share: Share, now: float) -> LimitReached:
    """The refusal of what a window has no room for; says when the next one begins."""
    limit = share.limit
    seconds = max(1, math.ceil(share.retry_after(now)))
    return LimitReached(
        f"Your limit of {limit.quota:g} {_words(limit)} is reached; the next window begins in {seconds} s.",
        retry_after_seconds=seconds,
        details={"limit": limit.name, "quota": limit.quota},
    )


def all_in_use(slots: Slots) -> LimitReached:
    """The refusal of one request more at a time than may be."""
    return LimitReached(
        f"{slots.quota} requests of yours are being answered, which is your limit at a time; wait for one of them.",
        retry_after_seconds=SLOT_RETRY_SECONDS,
        details={"limit": CONCURRENT, "quota": slots.quota},
    )


def _policy(tier: Tier) -> bytes:
    limits = (*tier.request_limits, *((tier.unit_limit,) if tier.unit_limit else ()))
    policies = [f'"{limit.name}";q={limit.quota:.0f};w={limit.seconds}{_unit(limit)}' for limit in limits]
    if tier.concurrent_requests:
        policies.append(f'"{CONCURRENT}";q={tier.concurrent_requests};qu="concurrent-requests"')
    return ", ".join(policies).encode()


def _unit(limit: Limit) -> str:
    return "" if limit.unit == "requests" else f';qu="{limit.unit}"'


def _words(limit: Limit) -> str:
    return limit.name.replace("-", " ").replace(" per ", " a ")
