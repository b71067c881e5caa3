"""What every handler of `/v1` does first: find out who asks, and how long they will wait.

Three bounds meet here. `Bowerbird-Deadline-Ms` is the caller's word for everything, waiting and computing. OpenAI's
clients say in `x-stainless-read-timeout` when they stop listening; an answer after that reaches nobody, so it ends the
work a little earlier than that. What the caller leaves open, the settings bound, the wait apart from the computing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from functools import partial

from starlette.requests import Request

from bowerbird.contracts import CLASS_HEADER, DEADLINE_HEADER, WorkClass
from bowerbird.deadline import MAX_DEADLINE_MS, Deadline
from bowerbird.errors import RequestInvalid
from bowerbird.gateway.call import DEFAULT_LOCALE, Call, flow_of
from bowerbird.gateway.gateway import Gateway
from bowerbird.gateway.identity.principal import Principal
from bowerbird.gateway.results.lookup import Cache

READ_TIMEOUT_HEADER = "x-stainless-read-timeout"
IN_TIME = 0.95
"""Part of the client's read timeout after which the answer should be on its way."""

_LANGUAGE_TAG = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*")


def gateway_of(request: Request) -> Gateway:
    """What the requests of this process share."""
    gateway: Gateway = request.app.state.gateway
    return gateway


def principal_of(request: Request) -> Principal:
    """Who asks, as the guard of the route has found out."""
    principal: Principal = request.state.principal
    return principal


def arrive(request: Request) -> tuple[Gateway, Call]:
    """The gateway and the call that a request becomes, whose principal the guard has found.

    Raises RequestInvalid for an unreadable header.
    """
    gateway, principal = gateway_of(request), principal_of(request)
    tier, headers = principal.tier, _headers_of(request)
    stated = DEADLINE_HEADER in headers
    timeout_seconds = gateway.settings.request_timeout_seconds
    deadline = Deadline.from_headers(headers, timeout_seconds)
    patience = min(_read_timeout(headers), deadline.at if stated else math.inf)
    call = Call(
        request_id=request.state.request_id,
        deadline=Deadline(min(deadline.at, patience)),
        metrics=gateway.metrics,
        locale=_locale(headers.get("accept-language", "")),
        flow=flow_of(principal.tenant),
        work_class=_work_class(headers),
        weight=principal.weight,
        queue_part=tier.queue_part,
        picture_pixels=tier.picture_pixels,
        window_units=tier.compute_units_per_minute,
        charge=partial(gateway.limits.charge, principal),
        any_by_default=gateway.settings.tenant_caches.get(principal.tenant, principal.cache) == Cache.ANY,
        patience=Deadline(patience),
        computing_seconds=math.inf if stated else timeout_seconds,
    )
    return gateway, call


def _headers_of(request: Request) -> Mapping[str, str]:
    """By lower-case name, the first of equal ones; Starlette's own search their list anew for each name."""
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(request.scope["headers"])}


def _read_timeout(headers: Mapping[str, str]) -> float:
    """When the client stops listening, on the monotonic clock; a foreign header that makes no sense says nothing."""
    try:
        seconds = float(headers.get(READ_TIMEOUT_HEADER, "inf"))
    except ValueError:
        return math.inf
    return Deadline.after(IN_TIME * seconds).at if 0 < seconds <= MAX_DEADLINE_MS / 1000 else math.inf


def _work_class(headers: Mapping[str, str]) -> WorkClass:
    stated = headers.get(CLASS_HEADER, WorkClass.INTERACTIVE)
    try:
        return WorkClass(stated)
    except ValueError:
        accepted = ", ".join(WorkClass)
        raise RequestInvalid(f"Bowerbird-Class must be one of {accepted}.", param="Bowerbird-Class") from None


def _locale(accept_language: str) -> str:
    first = accept_language.partition(",")[0].partition(";")[0].strip()
    return first if len(first) <= 35 and _LANGUAGE_TAG.fullmatch(first) else DEFAULT_LOCALE
