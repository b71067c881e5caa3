"""One request that is answered at once: who asks, whether they may, and what is written down at the end.

The same questions in the same order as the ordinary way asks them (`api.guard`), each only where its answer is at hand.
`visitor` has no effect; `enter` counts the request within its limits, and whoever entered is answered here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bowerbird.gateway.access import Ended, headers_of, new_request_id, write_down
from bowerbird.gateway.identity.principal import Principal
from bowerbird.gateway.identity.scopes import Scope as Permission
from bowerbird.gateway.limits.account import Account
from bowerbird.telemetry import SpanIds

if TYPE_CHECKING:
    from bowerbird.gateway.gateway import Gateway

OK, NOT_MODIFIED = 200, 304

Write = Callable[[int, bytes, Sequence[bytes]], None]
"""Sends a whole answer: its status, the lines of its headers, its body in pieces."""


def visitor(gateway: Gateway, headers: Mapping[bytes, bytes], needed: Permission) -> Principal | None:
    """Who asks, where that is known and they may do this."""
    authorization = headers.get(b"authorization")
    principal = gateway.identity.at_once(None if authorization is None else authorization.decode("latin-1"))
    return principal if principal is not None and needed in principal.scopes else None


def header_lines(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Headers as they are written; made by us, or checked when they were (a line break would begin another header)."""
    return b"".join([b"%b: %b\r\n" % each for each in headers])


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

    def answer(self, write: Write, status: int, lines: bytes, body: Sequence[bytes] = ()) -> None:
        """Sends it, with the headers that every answer has, and writes it down."""
        limits = self.gateway.limits
        if body:
            lines += b"content-length: %d\r\ncontent-type: application/json\r\n" % sum(map(len, body))
        if self.account is not None:
            lines += header_lines(limits.headers(self.account))
        lines += header_lines(headers_of(self.request_id) + self.span.headers)
        try:
            write(status, lines, body)
        finally:
            if self.account is not None:
                limits.leave(self.account)
            self._write_down(status)

    def _write_down(self, status: int) -> None:
        method, _, route = self.route.partition(" ")
        ended = Ended(method, route, status, time.perf_counter() - self.began)
        metrics = self.gateway.metrics
        metrics.at_once.answers[route] += 1
        state = {"request_id": self.request_id, "tenant": self.principal.tenant}
        write_down(metrics, state, ended, self.span, recorded=False)


def enter(gateway: Gateway, principal: Principal, span: SpanIds, route: str, began: float) -> Visit | None:
    """The request, counted within its limits; None, and nothing counted, where that takes a question."""
    account = None
    if principal.tier.counts:
        account = gateway.limits.enter_at_once(principal)
        if account is None:
            return None
    return Visit(gateway, principal, route, began, new_request_id(), span, account)
