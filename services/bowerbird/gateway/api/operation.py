"""What the route table says of one operation: method, path, handler, who may, shapes, and the errors it may answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from bowerbird import errors
from bowerbird.gateway.identity.scopes import Scope

Handler = Callable[[Request], Awaitable[Response]]

JSON = "application/json"
FORM = "multipart/form-data"
TEXT = "text/plain"
EVENTS = "text/event-stream"

RATE_LIMIT = {
    "RateLimit-Policy": "your limits: requests and compute units that may wait at a time, and in windows of w seconds",
    "RateLimit": "how much of each is left",
    "Bowerbird-Limits": "`alone` while each gateway grants its own part of them, since the database does not answer",
}
"""Headers of what needs a key -> what they say; a tenant without limits of windows sees them only with drawings."""

EVERYWHERE = (errors.BowerbirdError,)
WITH_KEY = (
    errors.KeyInvalid,
    errors.KeyExpired,
    errors.KeyRevoked,
    errors.ScopeMissing,
    errors.TenantDisabled,
    errors.LimitReached,
    errors.GatewayFull,
    errors.RequestInvalid,
    errors.FieldUnknown,
    errors.StageUnavailable,
    errors.RecordsUnavailable,
)
"""What the guard of an operation answers with, which everybody must pass who needs a key."""
WITH_BODY = (errors.RequestInvalid, errors.FieldUnknown, errors.BodyTooLarge, errors.BodyTooSlow)
WITH_RECORDS = (errors.RecordsUnavailable,)
KEYED = (*WITH_RECORDS, errors.IdempotencyKeyReused)
ENDED_JOB = (errors.JobCancelled, errors.JobExpired, errors.JobQuarantined, errors.PictureLost)
OF_A_JOB = (*WITH_RECORDS, errors.JobUnknown)
UPSTREAM = (errors.StageUnavailable, errors.DeadlineExceeded, errors.StageBroken)


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path."""

    method: str
    path: str
    handler: Handler
    summary: str
    answer: type[BaseModel] | None
    """The body of status 200; None for text."""
    accepted: type[BaseModel] | None = None
    """The body of status 202."""
    events: tuple[type[BaseModel], ...] = ()
    """The bodies of the events that status 200 is a stream of, where `stream` asks for one."""
    facts: tuple[type[errors.BowerbirdError], ...] = ()
    """Errors of its own that it answers with."""
    body: type[BaseModel] | None = None
    body_media_type: str = JSON
    also_body_media_type: str | None = None
    """In which the same may be sent."""
    also_body: type[BaseModel] | None = None
    """Its shape there, where it is another."""
    answer_headers: Mapping[str, str] = field(default_factory=dict)
    """Headers of status 200 beyond those of every answer -> what they say."""
    example: Mapping[str, Any] | None = None
    not_modified: str | None = None
    """When the answer is 304; None where it never is."""
    nothing_left: str | None = None
    """When the answer is 204; None where it never is."""
    query: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Query parameters, none of them required -> their schema."""
    path_schema: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Names in the path -> their schema, where it is not just any text."""
    text_media_type: str = TEXT
    """Of status 200 where `answer` is None."""
    more_media_types: tuple[str, ...] = ()
    """Of status 200 where `answer` is None: it depends on what is answered."""
    partial: str | None = None
    """When the answer is 206; None where it never is."""
    also_media_type: str | None = None
    """Of status 200 where the caller asks for it instead of JSON."""
    scope: Scope | None = Scope.ADMINISTRATION
    """What a caller must have; what states nothing is for administrators only. None: open to all, without a key."""

    @property
    def documented_path(self) -> str:
        """The path as OpenAPI writes it, without Starlette's converters."""
        return self.path.replace(":path}", "}")

    @property
    def takes_key(self) -> bool:
        """Whether an `Idempotency-Key` means what it says: a key is kept, or to ask again changes nothing anyway."""
        return self.method in ("GET", "DELETE") or errors.IdempotencyKeyReused in self.facts

    @property
    def all_errors(self) -> tuple[type[errors.BowerbirdError], ...]:
        """Every error this operation can answer with, in the order of their status."""
        kinds = {*EVERYWHERE, *self.facts, *(WITH_KEY if self.scope else ())}
        return tuple(sorted(kinds, key=lambda kind: (kind.status, kind.code)))
