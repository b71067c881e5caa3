"""What a tenant may still have waiting, in headers: `RateLimit-Policy` and `RateLimit`.

draft-ietf-httpapi-ratelimit-headers-11: lists of structured fields (RFC 9651), a policy's name with its quota `q` and
the quota's unit `qu`, and what remains of it, `r`. Both quotas are of what waits at the same time, not of what is sent
within a window: whoever waits for each answer before sending the next request never meets them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType

from starlette.requests import Request

from bowerbird.gateway.api.arrival import gateway_of, principal_of
from bowerbird.gateway.call import flow_of
from bowerbird.gateway.gateway import Gateway
from bowerbird.gateway.identity.principal import Principal

TOO_MANY = 429


def rate_limit(request: Request) -> Mapping[str, str]:
    """The headers for the tenant of a request that has arrived."""
    return _headers(*_amounts(gateway_of(request), principal_of(request)))


def rate_limit_lines(gateway: Gateway, principal: Principal) -> bytes:
    """The same as they are written."""
    return _lines(*_amounts(gateway, principal))


def _amounts(gateway: Gateway, principal: Principal) -> tuple[int, int, int, int]:
    """Requests and compute units that may wait, and how many more of each."""
    settings, part = gateway.settings, principal.tier.queue_part
    left = gateway.admission.left(flow_of(principal.tenant), part)
    part = part or settings.queue_tenant_part
    requests, units = math.floor(settings.queue_requests * part), math.floor(settings.queue_units * part)
    return requests, units, left.requests, math.floor(left.units)


# Written once for what is said again and again, as where nothing waits.


@lru_cache(maxsize=1024)
def _headers(requests: int, units: int, requests_left: int, units_left: int) -> Mapping[str, str]:
    written = {
        "RateLimit-Policy": f'"requests";q={requests};qu="concurrent-requests", "compute";q={units};qu="compute-units"',
        "RateLimit": f'"requests";r={requests_left}, "compute";r={units_left}',
    }
    return MappingProxyType(written)


@lru_cache(maxsize=1024)
def _lines(requests: int, units: int, requests_left: int, units_left: int) -> bytes:
    written = _headers(requests, units, requests_left, units_left).items()
    return "".join(f"{name.lower()}: {value}\r\n" for name, value in written).encode()
