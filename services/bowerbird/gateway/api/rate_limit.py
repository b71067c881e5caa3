"""What a tenant may still have waiting, in headers: `RateLimit-Policy` and `RateLimit`.

draft-ietf-httpapi-ratelimit-headers-11: lists of structured fields (RFC 9651), a policy's name with its quota `q` and
the quota's unit `qu`, and what remains of it, `r`. Both quotas are of what waits at the same time, not of what is sent
within a window: whoever waits for each answer before sending the next request never meets them.
"""

from __future__ import annotations

import math
from functools import lru_cache

from starlette.requests import Request

from bowerbird.gateway.api.arrival import gateway_of, principal_of
from bowerbird.gateway.call import flow_of
from bowerbird.gateway.gateway import Gateway
from bowerbird.gateway.identity.principal import Principal

TOO_MANY = 429


def rate_limit(request: Request) -> dict[str, str]:
    """The headers for the tenant of a request that has arrived."""
    return rate_limit_of(gateway_of(request), principal_of(request))


def rate_limit_of(gateway: Gateway, principal: Principal) -> dict[str, str]:
    """The headers for a tenant."""
    settings, part = gateway.settings, principal.tier.queue_part
    left = gateway.admission.left(flow_of(principal.tenant), part)
    part = part or settings.queue_tenant_part
    requests, units = math.floor(settings.queue_requests * part), math.floor(settings.queue_units * part)
    return {
        "RateLimit-Policy": _policy(requests, units),
        "RateLimit": f'"requests";r={left.requests}, "compute";r={math.floor(left.units)}',
    }


@lru_cache(maxsize=256)
def _policy(requests: int, units: int) -> str:
    return f'"requests";q={requests};qu="concurrent-requests", "compute";q={units};qu="compute-units"'
