"""In front of the whole app: what can be answered at once is, and everything else goes on as it came.

Two routes, each a story of a few lines: `_status` and `_picture`. Each gives up by returning False before it has had
any effect, and then the ordinary way begins from the beginning; of the body that was read meanwhile nothing is lost
(`Replayed`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

from starlette.applications import Starlette
from starlette.types import Message, Receive, Scope, Send

from bowerbird.errors import BowerbirdError
from bowerbird.gateway.api.job_body import RETRY_AFTER_SECONDS, job_body
from bowerbird.gateway.api.rate_limit import rate_limit_of
from bowerbird.gateway.gateway import Gateway
from bowerbird.gateway.hot.hits import ASKED, Hit
from bowerbird.gateway.hot.visit import NOT_MODIFIED, OK, Visit, enter, visitor
from bowerbird.gateway.identity.principal import Principal
from bowerbird.gateway.identity.scopes import Scope as Permission
from bowerbird.gateway.records.job import Job
from bowerbird.gateway.records.usage import UsageEntry
from bowerbird.gateway.results.memory import Remembered
from bowerbird.gateway.results.result import tag_is_known
from bowerbird.telemetry import SpanIds, unsampled

STATUS_ROUTE, STATUS_PATH = "GET /v1/jobs/{job}", "/v1/jobs/"
PICTURE_ROUTE, PICTURE_PATH = "POST /v1/images/generations", "/v1/images/generations"
MAX_BODY_BYTES = 16 * 1024
"""A prompt may have 2 000 characters, and a negative one as many."""
BODY_SECONDS = 0.25
"""How long the rest of a small body is waited for here; the ordinary way waits on."""
CHANGING = frozenset({b"prefer", b"idempotency-key", b"content-encoding", b"transfer-encoding"})
OURS = b"bowerbird-"
"""Headers that make a request something else than a look, or are refused; so do all that begin like this."""

Headers = Mapping[bytes, bytes]


class FrontedApp(Starlette):
    """The app; `state.gateway` is there while it serves."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request, or the app's lifespan."""
        route = _route_of(scope) if scope["type"] == "http" else None
        span = None if route is None else unsampled(scope)
        if span is not None and route == STATUS_ROUTE:
            if await self._status(scope, send, span):
                return
        elif span is not None:
            receive = Replayed(receive)
            if await self._picture(scope, receive, send, span):
                return
        await super().__call__(scope, receive, send)

    async def _status(self, scope: Scope, send: Send, span: SpanIds) -> bool:
        """How far a job of the caller's is; whether that could be said."""
        gateway: Gateway = self.state.gateway
        began, headers, job_id = time.perf_counter(), _headers(scope), scope["path"][len(STATUS_PATH) :]
        principal = visitor(gateway, headers, Permission.JOBS_READ)
        if principal is None or "/" in job_id or not _is_plain(headers):
            return False
        try:
            job, body = gateway.statuses.find(principal.tenant, job_id) or await _read(gateway, principal, job_id)
        except BowerbirdError:
            return False
        visit = enter(gateway, principal, span, STATUS_ROUTE, began)
        if visit is None:
            return False
        own = [] if job.state.final else [(b"retry-after", b"%d" % RETRY_AFTER_SECONDS)]
        await visit.answer(send, OK, own, [body])
        return True

    async def _picture(self, scope: Scope, receive: Replayed, send: Send, span: SpanIds) -> bool:
        """Pictures that the caller was given before; whether they may be given again."""
        gateway: Gateway = self.state.gateway
        began, headers = time.perf_counter(), _headers(scope)
        principal = visitor(gateway, headers, Permission.IMAGES_WRITE)
        if principal is None or not (_is_plain(headers) and _is_small_json(headers)):
            return False
        body = await receive.all_at_once(int(headers[b"content-length"]))
        if body is None:
            return False
        name = gateway.hits.name(principal, headers.get(b"accept-language", b""), body)
        found = gateway.hits.find(name, principal)
        visit = enter(gateway, principal, span, PICTURE_ROUTE, began) if found else None
        if visit is None or found is None:
            scope[ASKED] = name  # so that the answer can be learnt
            return False
        await _give(visit, *found, headers, send)
        return True


async def _read(gateway: Gateway, principal: Principal, job_id: str) -> tuple[Job, bytes]:
    """What its row says now; raises JobUnknown, or RecordsUnavailable."""
    job = await gateway.records.jobs.get(principal.tenant, job_id)
    body = job_body(job, gateway).model_dump_json().encode()
    gateway.statuses.keep(job, body)
    return job, body


async def _give(visit: Visit, hit: Hit, remembered: Remembered, headers: Headers, send: Send) -> None:
    """The stored pictures, or that the caller has them."""
    gateway, usage = visit.gateway, hit.usage
    took = time.perf_counter() - visit.began
    gateway.results.gave(remembered, any_seed=hit.any_seed)
    gateway.metrics.stage_took("look_up", took)
    gateway.records.usage.record_soon(
        UsageEntry(visit.request_id, usage.tenant, usage.model_digest, usage.variant, 0.0, 0, usage.pictures)
    )
    own = [
        *hit.headers,
        (b"server-timing", b"check_prompt;dur=0.0, look_up;dur=%.1f, total;dur=%.1f" % (2 * (1000 * took,))),
    ]
    own += [(each.lower().encode(), value.encode()) for each, value in rate_limit_of(gateway, visit.principal).items()]
    known = headers.get(b"if-none-match")
    if known is not None and tag_is_known(known.decode("latin-1"), hit.entity_tag):
        await visit.answer(send, NOT_MODIFIED, own)
        return
    seconds = b'{"check_prompt":0.0,"look_up":%.4f,"total":%.4f}' % (took, took)
    body = hit.template.filled(remembered.result.encoded, visit.request_id, visit.span.trace_id, seconds)
    await visit.answer(send, OK, own, body)


class Replayed:
    """What a request says, once more for whoever listens next."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._heard: Message | None = None

    async def __call__(self) -> Message:
        """The next message: first the one that was heard before."""
        heard, self._heard = self._heard, None
        return await self._receive() if heard is None else heard

    async def all_at_once(self, length: int) -> bytes | None:
        """The body, if it comes in one piece and soon; heard again by the next listener."""
        try:
            async with asyncio.timeout(BODY_SECONDS):
                heard = self._heard = await self._receive()
        except TimeoutError:
            return None
        body: bytes = heard.get("body", b"")
        return body if len(body) == length and not heard.get("more_body", False) else None


def _route_of(scope: Scope) -> str | None:
    """Which of the two is asked for; None for anything else."""
    if scope["query_string"]:
        return None
    if scope["method"] == "GET" and scope["path"].startswith(STATUS_PATH):
        return STATUS_ROUTE
    return PICTURE_ROUTE if scope["method"] == "POST" and scope["path"] == PICTURE_PATH else None


def _headers(scope: Scope) -> Headers:
    """By lower-case name, the first of equal ones."""
    return dict(reversed(scope["headers"]))


def _is_plain(headers: Headers) -> bool:
    """Whether none of its headers changes what is asked."""
    for name in headers:  # noqa: SIM110 - a generator takes three times as long
        if name in CHANGING or name.startswith(OURS):
            return False
    return True


def _is_small_json(headers: Headers) -> bool:
    length = headers.get(b"content-length", b"")
    if not length.isdigit() or len(length) > 5 or int(length) > MAX_BODY_BYTES:
        return False
    return headers.get(b"content-type") == b"application/json"
