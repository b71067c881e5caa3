"""The door in front of every route of the API: who asks, whether they may do this, whether they have some left.

`app` puts one in front of each operation that needs a key, made from the route table, so that a route cannot be served
without it. What it found out is in `request.state`: `principal` and `tenant`. Nothing of a refused request is read
beyond its head. An answer tells what is left of the tenant's limits.
"""

from __future__ import annotations

from collections.abc import Collection

from starlette.datastructures import State
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bowerbird.errors import GatewayFull, RequestInvalid, ScopeMissing
from bowerbird.gateway.api.query import check_query
from bowerbird.gateway.gateway import Gateway
from bowerbird.gateway.identity.configured import LOCAL_TENANT, is_loopback
from bowerbird.gateway.identity.principal import Principal
from bowerbird.gateway.identity.scopes import SCOPES_OF, Role
from bowerbird.gateway.identity.scopes import Scope as Permission

FULL_RETRY_SECONDS = 1

Headers = list[tuple[bytes, bytes]]


class Guard:
    """Lets a request through to one operation, or raises why it does not."""

    def __init__(self, app: ASGIApp, needed: Permission, query: Collection[str], *, takes_key: bool) -> None:
        self._app = app
        self._needed = needed
        self._query = query
        self._takes_key = takes_key
        self._administers = needed not in SCOPES_OF[Role.TENANT]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request; raises GatewayFull, KeyInvalid and its kinds, TenantDisabled, ScopeMissing,
        RequestInvalid or LimitReached."""
        gateway: Gateway = scope["app"].state.gateway
        principal = await gateway.identity.identify(_authorization(scope))
        state = scope["state"]
        state["principal"], state["tenant"] = principal, principal.tenant
        _require_room(gateway)
        if self._needed not in principal.scopes:
            raise ScopeMissing(
                f"This key may not do that: it lacks the scope {self._needed}.",
                param="Authorization",
                details={"scope": self._needed},
            )
        if self._administers and principal.actor == LOCAL_TENANT and not is_loopback(_host(scope)):
            raise ScopeMissing(
                "Without configured credentials only requests to 127.0.0.1 or localhost by these names administer: a "
                "web page could have a browser send others (DNS rebinding).",
                param="Host",
                details={"scope": self._needed},
            )
        if scope["query_string"]:
            check_query(scope["query_string"], self._query)
        if not self._takes_key and _header(scope, b"idempotency-key") is not None:
            raise RequestInvalid(
                "Idempotency-Key has no effect on this operation: asked again, it would be done again. Accepted: the "
                "request without it.",
                param="Idempotency-Key",
            )
        if not principal.tier.counts:
            await self._app(scope, receive, send)
            return
        account = await gateway.limits.enter(principal)
        state["counted"] = True

        async def send_with_limits(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *gateway.limits.headers(account)]
            await send(message)

        try:
            await self._app(scope, receive, send_with_limits)
        finally:
            gateway.limits.leave(account)


def _require_room(gateway: Gateway) -> None:
    """Raises GatewayFull for one request more than may be answered at once: what waits is bounded before it has asked
    for anything, by whoever it would wait for."""
    most = gateway.settings.requests_at_once
    if gateway.metrics.in_flight > most:
        fact = f"{most} requests are being answered here, which is all that may be at once."
        raise GatewayFull(fact, retry_after_seconds=FULL_RETRY_SECONDS)


def limit_headers(request: Request) -> Headers:
    """The headers of a refusal at the door; what came further gets them there."""
    state: State = request.state
    principal: Principal | None = getattr(state, "principal", None)
    if principal is None or not principal.tier.counts or getattr(state, "counted", False):
        return []
    gateway: Gateway = request.app.state.gateway
    return gateway.limits.headers(gateway.limits.account(principal))


def _authorization(scope: Scope) -> str | None:
    return _header(scope, b"authorization")


def _host(scope: Scope) -> str:
    """The name that the request was sent to, without its port."""
    stated = _header(scope, b"host") or ""
    return stated[1:].partition("]")[0] if stated.startswith("[") else stated.partition(":")[0]


def _header(scope: Scope, wanted: bytes) -> str | None:
    for name, value in scope["headers"]:
        if name == wanted:
            text: str = value.decode("latin-1")
            return text
    return None
