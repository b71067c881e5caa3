"""The outermost layer of the gateway: an id for each request, the headers every answer has, its metrics, its log line.

Plain ASGI around the whole app, inside the trace: it sees every answer, also those of routes that do not exist and of
errors nobody foresaw. The log line holds id, route template, status and milliseconds; never a body, a query or a
prompt. It is passed by every request, also by those that ask a thousand times a second how far a job is: what it does
is measured in microseconds (`python -m benchmarks.gateway --row cost`).
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bowerbird import __version__
from bowerbird.contracts import REQUEST_ID_HEADER, SERVICE_HEADER
from bowerbird.gateway.metrics import Metrics, outcome_of
from bowerbird.log_lines import say
from bowerbird.telemetry import TRACED, UNTRACED, SpanIds

Headers = list[tuple[bytes, bytes]]

SIGNATURE = (SERVICE_HEADER.encode(), f"gateway/{__version__}".encode())
"""Which service and version gave the answer."""

_REQUEST_ID = REQUEST_ID_HEADER.encode()

logger = logging.getLogger(__name__)


class Access:
    """Wraps the app; `request.state` has `request_id` from here, and may get `tenant` and `error_code` on the way."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request and writes down how it ended."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        state["request_id"] = new_request_id()
        start, status = time.perf_counter(), 500

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                traced: SpanIds | None = scope.get(TRACED)
                ours = *headers_of(state["request_id"]), *(traced.headers if traced else ())
                message["headers"] = [*message.get("headers", ()), *ours]
            await send(message)

        self._metrics.in_flight += 1
        try:
            await self._app(scope, receive, send_with_headers)
        finally:
            self._metrics.in_flight -= 1
            status = state.get("ended_with", status)  # of a stream, whose status was sent long before
            route = getattr(scope.get("route"), "path", "unknown")
            ended = Ended(scope["method"], route, status, time.perf_counter() - start)
            write_down(self._metrics, state, ended, scope.get(TRACED))


class Ended(NamedTuple):
    """How a request ended."""

    method: str
    route: str
    """Its template."""
    status: int
    seconds: float


def write_down(
    metrics: Metrics, state: Mapping[str, Any], ended: Ended, span: SpanIds | None, *, recorded: bool = True
) -> None:
    """Counts it and writes its log line; `recorded` says whether the current span may be."""
    method, route, status, seconds = ended
    code = state.get("error_code")
    outcome = outcome_of(status, code)
    metrics.request_took(route, outcome, seconds, recorded=recorded)
    if route in UNTRACED:
        return
    facts: dict[str, object] = {"request_id": state["request_id"]}
    if span is not None and span.headers:  # else tracing is off
        facts = {"trace_id": span.trace_id, "span_id": span.span_id, **facts}
    if (tenant := state.get("tenant")) is not None:
        facts["tenant"] = tenant
    facts |= {"method": method, "route": route, "status": status, "outcome": outcome}
    if code is not None:
        facts["code"] = code
    facts["ms"] = round(seconds * 1000, 1)
    say(logger, "request", facts)


def new_request_id() -> str:
    """`req_` and 24 hexadecimal digits: unique, and no secret (it stands in labels and logs)."""
    return f"req_{random.getrandbits(96):024x}"


def headers_of(request_id: str) -> Headers:
    """The headers of every answer."""
    named = request_id.encode()
    return [(_REQUEST_ID, named), (b"x-request-id", named), SIGNATURE]
