"""The outermost layer of the gateway: an id for each request, the headers every answer has, its metrics, its log line.

Plain ASGI around the whole app, inside the trace: it sees every answer, also those of routes that do not exist and of
errors nobody foresaw. The log line holds id, route template, status and milliseconds; never a body, a query or a
prompt.
"""

from __future__ import annotations

import logging
import secrets
import time
from typing import Any

from opentelemetry.propagate import inject
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bowerbird.contracts import REQUEST_ID_HEADER
from bowerbird.gateway.metrics import Metrics, outcome_of

PROBES = frozenset({"/livez", "/readyz", "/metrics"})

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
        state["request_id"] = f"req_{secrets.token_hex(12)}"
        start, status = time.perf_counter(), 500
        headers = {REQUEST_ID_HEADER: state["request_id"], "x-request-id": state["request_id"]}
        inject(headers)

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message).update(headers)
            await send(message)

        with self._metrics.in_flight.track_inprogress():
            try:
                await self._app(scope, receive, send_with_headers)
            finally:
                self._write_down(scope, status, time.perf_counter() - start)

    def _write_down(self, scope: Scope, status: int, seconds: float) -> None:
        state: dict[str, Any] = scope["state"]
        route = getattr(scope.get("route"), "path", "unknown")
        code = state.get("error_code")
        outcome = outcome_of(status, code)
        self._metrics.request_took(route, outcome, seconds)
        if route in PROBES:
            return
        facts = {
            "request_id": state["request_id"],
            "tenant": state.get("tenant"),
            "method": scope["method"],
            "route": route,
            "status": status,
            "outcome": outcome,
            "code": code,
            "ms": round(seconds * 1000, 1),
        }
        logger.info("request", extra={name: value for name, value in facts.items() if value is not None})
