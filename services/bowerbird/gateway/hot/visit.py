"""One request that is answered at once: who asks, whether they may, and what is written down at the end.

The same questions in the same order as the ordinary way asks them (`api.guard`), each only where its answer is at hand.
`visitor` has no effect; `enter` counts the request within its limits, and whoever entered is answered here.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from starlette.types import Send

from bowerbird.gateway.access import Ended, headers_of, new_request_id, write_down
from bowerbird.gateway.gateway import Gateway
from bowerbird.gateway.identity.principal import Principal
from bowerbird.gateway.identity.scopes import Scope as Permission
from bowerbird.gateway.limits.account import Account
from bowerbird.telemetry import SpanIds

Headers = list[tuple[bytes, bytes]]

OK, NOT_MODIFIED = 200, 304
JSON = (b"content-type", b"application/json")


def visitor(gateway: Gateway, headers: Mapping[bytes, bytes], needed: Permission) -> Principal | None:
    """Who asks, where that is known and they may do this."""
    authorization = headers.get(b"authorization")
    principal = gateway.identity.at_once(None if authorization is None else authorization.decode("latin-1"))
    return principal if principal is not None and needed in principal.scopes else None


@dataclass(slots=True)
class Visit:
    """A request that entered; `answer` is called once."""

    gateway: Gateway
    principal: Principal
    route: str
    began: float
    """On this process' performance counter."""
    request_id: str
    span: SpanIds
    account: Account | None
    """Where its limits are counted; None for a tenant without."""

    async def answer(self, send: Send, status: int, headers: Headers, body: Sequence[bytes] = ()) -> None:
        """Sends it, with the headers that every answer has, and writes it down."""
        metrics, limits = self.gateway.metrics, self.gateway.limits
        if body:
            headers += (b"content-length", b"%d" % sum(map(len, body))), JSON
        if self.account is not None:
            headers += limits.headers(self.account)
        headers += headers_of(self.request_id)
        headers += self.span.headers
        metrics.in_flight += 1
        try:
            await send({"type": "http.response.start", "status": status, "headers": headers})
            for piece in body[:-1]:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": body[-1] if body else b""})
        finally:
            metrics.in_flight -= 1
            if self.account is not None:
                limits.leave(self.account)
            self._write_down(status)

    def _write_down(self, status: int) -> None:
        method, _, route = self.route.partition(" ")
        ended = Ended(method, route, status, time.perf_counter() - self.began)
        metrics = self.gateway.metrics
        metrics.at_once.answers[route] += 1
        write_down(metrics, {"request_id": self.request_id, "tenant": self.principal.tenant}, ended, self.span)


def enter(gateway: Gateway, principal: Principal, span: SpanIds, route: str, began: float) -> Visit | None:
    """The request, counted within its limits; None, and nothing counted, where that takes a question."""
    account = None
    if principal.tier.counts:
        account = gateway.limits.enter_at_once(principal)
        if account is None:
            return None
    return Visit(gateway, principal, route, began, new_request_id(), span, account)
