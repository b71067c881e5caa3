"""What can be answered at once, and with what: nothing here waits, and what is in doubt has no effect.

Two routes, each a story of a few lines: `_status` and `_picture`. Each gives up by returning False before it has had
any effect, and then the ordinary way begins from the beginning. `protocol` calls, on every connection.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from starlette.types import Scope

from bowerbird.errors import BowerbirdError
from bowerbird.gateway.api.job_body import RETRY_AFTER_SECONDS, job_body
from bowerbird.gateway.api.job_place import known_at_once
from bowerbird.gateway.api.rate_limit import rate_limit_lines
from bowerbird.gateway.gateway import Gateway
from bowerbird.gateway.hot.hits import ASKED, Hit
from bowerbird.gateway.hot.visit import NOT_MODIFIED, OK, Visit, Write, enter, visitor
from bowerbird.gateway.identity.principal import Principal
from bowerbird.gateway.identity.scopes import Scope as Permission
from bowerbird.gateway.records.job import Job
from bowerbird.gateway.records.usage import UsageEntry
from bowerbird.gateway.results.memory import Remembered
from bowerbird.gateway.results.result import tag_is_known
from bowerbird.telemetry import unsampled

FRONT = "bowerbird.front"
"""In the app's lifespan state, where the server's connections find it."""
STATUS_ROUTE, PICTURE_ROUTE = "GET /v1/jobs/{job}", "POST /v1/images/generations"
STATUS_URL = re.compile(rb"/v1/jobs/([A-Za-z0-9_-]{1,40})")
PICTURE_URL = b"/v1/images/generations"
MAX_BODY_BYTES = 16 * 1024
"""A prompt may have 2 000 characters, and a negative one as many."""
CHANGING = frozenset({b"prefer", b"idempotency-key", b"content-encoding", b"transfer-encoding"})
OURS = b"bowerbird-"
"""Headers that make a request something else than a look, or are refused; so do all that begin like this."""
RETRY_AFTER = b"retry-after: %d\r\n" % RETRY_AFTER_SECONDS

Headers = Mapping[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Asked:
    """A request for one of the two, as its head says."""

    answer: Callable[[Asked, bytes, Scope, Write], bool]
    headers: Headers
    """By lower-case name, the first of equal ones."""
    job_id: str = ""


class Front:
    """Of one gateway process."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def asked(self, method: bytes, url: bytes, headers: Sequence[tuple[bytes, bytes]]) -> Asked | None:
        """What is asked, if that is one of the two and none of its headers changes it; a query or an escape does."""
        status = STATUS_URL.fullmatch(url) if method == b"GET" else None
        if status is None and (method != b"POST" or url != PICTURE_URL):
            return None
        by_name = dict(reversed(headers))
        for name in by_name:
            if name in CHANGING or name.startswith(OURS):
                return None
        length = by_name.get(b"content-length")
        if status is not None:
            return Asked(self._status, by_name, status[1].decode()) if length is None else None
        return Asked(self._picture, by_name) if _is_short_json(by_name, length) else None

    def _status(self, asked: Asked, _: bytes, scope: Scope, write: Write) -> bool:
        """How far a job of the caller's is; whether that could be said."""
        began, gateway = time.perf_counter(), self._gateway
        span, principal = unsampled(scope), visitor(gateway, asked.headers, Permission.JOBS_READ)
        if span is None or principal is None:
            return False
        try:
            said = gateway.statuses.find(principal.tenant, asked.job_id) or self._read(principal, asked.job_id)
        except BowerbirdError:
            return False
        visit = enter(gateway, principal, span, STATUS_ROUTE, began) if said else None
        if visit is None or said is None:
            return False
        job, body = said
        visit.answer(write, OK, b"" if job.state.final else RETRY_AFTER, [body])
        return True

    def _read(self, principal: Principal, job_id: str) -> tuple[Job, bytes] | None:
        """What its row says now, where it is at hand; raises JobUnknown."""
        gateway = self._gateway
        job = gateway.records.jobs.at_once(principal.tenant, job_id)
        where = None if job is None else known_at_once(job, principal.weight, gateway)
        if job is None or where is None:
            return None
        body = job_body(job, where, gateway).model_dump_json().encode()
        gateway.statuses.keep(job, body)
        return job, body

    def _picture(self, asked: Asked, body: bytes, scope: Scope, write: Write) -> bool:
        """Pictures that the caller was given before; whether they may be given again."""
        began, gateway, headers = time.perf_counter(), self._gateway, asked.headers
        span, principal = unsampled(scope), visitor(gateway, headers, Permission.IMAGES_WRITE)
        if span is None or principal is None:
            return False
        name = gateway.hits.name(principal, headers.get(b"accept-language", b""), body)
        found = gateway.hits.find(name, principal)
        visit = enter(gateway, principal, span, PICTURE_ROUTE, began) if found else None
        if visit is None or found is None:
            scope[ASKED] = name  # so that the answer can be learnt
            return False
        _give(visit, *found, headers, write)
        return True


def _give(visit: Visit, hit: Hit, remembered: Remembered, headers: Headers, write: Write) -> None:
    """The stored pictures, or that the caller has them."""
    gateway, usage = visit.gateway, hit.usage
    took = time.perf_counter() - visit.began
    gateway.results.gave(remembered, any_seed=hit.any_seed)
    gateway.metrics.stage_took("look_up", took, recorded=False)
    gateway.records.usage.record_soon(
        UsageEntry(visit.request_id, usage.tenant, usage.model_digest, usage.variant, 0.0, 0, usage.pictures)
    )
    timing = b"server-timing: check_prompt;dur=0.0, look_up;dur=%.1f, total;dur=%.1f\r\n" % (2 * (1000 * took,))
    own = hit.header_lines + timing + rate_limit_lines(gateway, visit.principal)
    known = headers.get(b"if-none-match")
    if known is not None and tag_is_known(known.decode("latin-1"), hit.entity_tag):
        visit.answer(write, NOT_MODIFIED, own)
        return
    seconds = b'{"check_prompt":0.0,"look_up":%.4f,"total":%.4f}' % (took, took)
    body = hit.template.filled(remembered.result.encoded, visit.request_id, visit.span.trace_id, seconds)
    visit.answer(write, OK, own, body)


def _is_short_json(headers: Headers, length: bytes | None) -> bool:
    if length is None or not length.isdigit() or len(length) > 5 or int(length) > MAX_BODY_BYTES:
        return False
    return headers.get(b"content-type") == b"application/json"
