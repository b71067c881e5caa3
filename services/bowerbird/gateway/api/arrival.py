"""What every handler of `/v1` does first: find out who asks, and give the request its deadline."""

from __future__ import annotations

import re

from starlette.requests import Request

from bowerbird.deadline import Deadline
from bowerbird.gateway.call import DEFAULT_LOCALE, Call, flow_of
from bowerbird.gateway.gateway import Gateway

_LANGUAGE_TAG = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*")


def gateway_of(request: Request) -> Gateway:
    """What the requests of this process share."""
    gateway: Gateway = request.app.state.gateway
    return gateway


def arrive(request: Request) -> tuple[Gateway, Call]:
    """The gateway and the call a request becomes; raises KeyInvalid, or RequestInvalid for an unreadable deadline."""
    gateway = gateway_of(request)
    request.state.tenant = gateway.identity.tenant(request.headers.get("authorization"))
    call = Call(
        request_id=request.state.request_id,
        deadline=Deadline.from_headers(request.headers, gateway.settings.request_timeout_seconds),
        metrics=gateway.metrics,
        locale=_locale(request.headers.get("accept-language", "")),
        flow=flow_of(request.state.tenant),
    )
    return gateway, call


def _locale(accept_language: str) -> str:
    first = accept_language.partition(",")[0].partition(";")[0].strip()
    return first if len(first) <= 35 and _LANGUAGE_TAG.fullmatch(first) else DEFAULT_LOCALE
