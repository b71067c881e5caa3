"""What every handler of `/v1` does first: find out who asks, and how long they will wait.

Three bounds meet here. `Bowerbird-Deadline-Ms` is the caller's word for everything, waiting and computing. OpenAI's
clients say in `x-stainless-read-timeout` when they stop listening; an answer after that reaches nobody, so it ends the
work a little earlier than that. What the caller leaves open, the settings bound, the wait apart from the computing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from starlette.requests import Request

from bowerbird.contracts import CLASS_HEADER, DEADLINE_HEADER, WorkClass
from bowerbird.deadline import MAX_DEADLINE_MS, Deadline
from bowerbird.errors import RequestInvalid
from bowerbird.gateway.call import DEFAULT_LOCALE, Call, flow_of
from bowerbird.gateway.gateway import Gateway

READ_TIMEOUT_HEADER = "x-stainless-read-timeout"
IN_TIME = 0.95
"""Part of the client's read timeout after which the answer should be on its way."""

_LANGUAGE_TAG = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*")


def gateway_of(request: Request) -> Gateway:
    """What the requests of this process share."""
    gateway: Gateway = request.app.state.gateway
    return gateway


def arrive(request: Request) -> tuple[Gateway, Call]:
    """The gateway and the call a request becomes; raises KeyInvalid, or RequestInvalid for an unreadable header."""
    gateway = gateway_of(request)
    tenant = request.state.tenant = gateway.identity.tenant(request.headers.get("authorization"))
    stated = DEADLINE_HEADER in request.headers
    timeout_seconds = gateway.settings.request_timeout_seconds
    deadline = Deadline.from_headers(request.headers, timeout_seconds)
    patience = min(_read_timeout(request.headers), deadline.at if stated else math.inf)
    call = Call(
        request_id=request.state.request_id,
        deadline=Deadline(min(deadline.at, patience)),
        metrics=gateway.metrics,
        locale=_locale(request.headers.get("accept-language", "")),
        flow=flow_of(tenant),
        work_class=_work_class(request.headers),
        weight=gateway.settings.tenant_weights.get(tenant, 1.0),
        patience=Deadline(patience),
        computing_seconds=math.inf if stated else timeout_seconds,
    )
    return gateway, call


def _read_timeout(headers: Mapping[str, str]) -> float:
    """When the client stops listening, on the monotonic clock; a foreign header that makes no sense says nothing."""
    try:
        seconds = float(headers.get(READ_TIMEOUT_HEADER, "inf"))
    except ValueError:
        return math.inf
    return Deadline.after(IN_TIME * seconds).at if 0 < seconds <= MAX_DEADLINE_MS / 1000 else math.inf


def _work_class(headers: Mapping[str, str]) -> WorkClass:
    stated = headers.get(CLASS_HEADER, WorkClass.INTERACTIVE)
    if stated not in set(WorkClass):
        raise RequestInvalid(f"Bowerbird-Class must be one of {', '.join(WorkClass)}.", param="Bowerbird-Class")
    return WorkClass(stated)


def _locale(accept_language: str) -> str:
    first = accept_language.partition(",")[0].partition(";")[0].strip()
    return first if len(first) <= 35 and _LANGUAGE_TAG.fullmatch(first) else DEFAULT_LOCALE
