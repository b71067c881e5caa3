"""The answers of an operation as OpenAPI describes them: what it says when it succeeds, and every error by its code."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from bowerbird.errors import (
    BowerbirdError,
    JobUnfinished,
    KeyInvalid,
    LimitReached,
    StageUnavailable,
)
from bowerbird.gateway.api.openapi_links import links_of
from bowerbird.gateway.api.openapi_schemas import REF
from bowerbird.gateway.api.operation import JSON, RATE_LIMIT, Operation
from bowerbird.gateway.api.rate_limit import TOO_MANY

EVERY_ANSWER = {
    "x-request-id": "the request's id, also as Bowerbird-Request-Id",
    "traceparent": "W3C trace context of the answer",
}
ACCEPTED = {
    "Location": "the job",
    "Retry-After": "seconds after which looking at it makes sense",
    "Preference-Applied": "RFC 7240: respond-async",
}


SHARED = {**EVERY_ANSWER, **RATE_LIMIT}


class ErrorFacts(BaseModel):
    """What went wrong. Some codes add fields: categories and policy of a refusal, help of `crisis_support`, a stage."""

    model_config = ConfigDict(extra="allow")

    message: str = Field(description="One sentence or two for the caller: field, value, what is accepted.")
    type: str
    param: str | None = Field(description="The request field it is about.")
    code: str


class ErrorResponse(BaseModel):
    """OpenAI's error shape."""

    error: ErrorFacts


def responses(operation: Operation) -> dict[str, Any]:
    """Status -> what is answered with it."""
    return {
        "200": _answer(operation),
        **_accepted(operation),
        **_nothing_left(operation),
        **_partial(operation),
        **_not_modified(operation),
        **_errors(operation.all_errors),
    }


def headers(described: Mapping[str, str]) -> dict[str, Any]:
    """Name -> what it says; what the same words are said of in many answers stands among the components."""
    return {name: _shared(name, text) or _header(text) for name, text in described.items()}


def shared_headers() -> dict[str, Any]:
    """The components that `headers` refers to."""
    return {name: _header(text) for name, text in SHARED.items()}


def error_examples(operations: Iterable[Operation]) -> dict[str, Any]:
    """Code -> its example, of every error that an operation can answer with."""
    kinds = {kind.code: kind for each in operations for kind in each.all_errors}
    return {code: {"summary": fact_of(kind), "value": _example(kind)} for code, kind in sorted(kinds.items())}


def reference(body: type[BaseModel]) -> dict[str, str]:
    """The body's shape among the components."""
    return {"$ref": REF.format(model=body.__name__)}


def _header(text: str) -> dict[str, Any]:
    return {"description": text, "schema": {"type": "string"}}


def _shared(name: str, text: str) -> dict[str, str] | None:
    return {"$ref": f"#/components/headers/{name}"} if SHARED.get(name) == text else None


def _answer(operation: Operation) -> dict[str, Any]:
    """Status 200."""
    if operation.answer is None:
        content: dict[str, Any] = _texts(operation)
    else:
        content = {JSON: {"schema": reference(operation.answer)}}
    if operation.also_media_type:
        content[operation.also_media_type] = {"schema": {"type": "string"}}
    if operation.events:
        content["text/event-stream"] = {"schema": {"type": "string", "description": _events(operation.events)}}
    known = {**EVERY_ANSWER, **(RATE_LIMIT if operation.scope else {}), **operation.answer_headers}
    return {
        "description": (operation.answer.__doc__ or "") if operation.answer else "Text.",
        "headers": headers(known),
        "content": content,
        **links_of(operation, "200"),
    }


def _events(bodies: Iterable[type[BaseModel]]) -> str:
    """OpenAPI 3.1 has no words for the events of a stream: they are named here, and their shapes are components."""
    told = " ".join(f"{body.__doc__} `data` is a `{body.__name__}`." for body in bodies)
    return f"{told} Event `error`: an `ErrorResponse`. Comments tell phase and place while nothing happens."


def _accepted(operation: Operation) -> dict[str, Any]:
    """Status 202, where there is one."""
    if operation.accepted is None:
        return {}
    return {
        "202": {
            "description": operation.accepted.__doc__ or "",
            "headers": headers({**EVERY_ANSWER, **ACCEPTED}),
            "content": {JSON: {"schema": reference(operation.accepted)}},
            **links_of(operation, "202"),
        }
    }


def _nothing_left(operation: Operation) -> dict[str, Any]:
    """Status 204, where there is one."""
    if operation.nothing_left is None:
        return {}
    return {"204": {"description": operation.nothing_left, "headers": headers(EVERY_ANSWER)}}


def _partial(operation: Operation) -> dict[str, Any]:
    """Status 206, where there is one."""
    if operation.partial is None:
        return {}
    known = {**EVERY_ANSWER, **RATE_LIMIT, **operation.answer_headers, "Content-Range": "RFC 9110: which bytes of all"}
    return {"206": {"description": operation.partial, "headers": headers(known), "content": _texts(operation)}}


def _texts(operation: Operation) -> dict[str, Any]:
    kinds = (operation.text_media_type, *operation.more_media_types)
    return {kind: {"schema": {"type": "string"}} for kind in kinds}


def _not_modified(operation: Operation) -> dict[str, Any]:
    """Status 304, where there is one."""
    if operation.not_modified is None:
        return {}
    known = {**EVERY_ANSWER, **operation.answer_headers}
    return {"304": {"description": operation.not_modified, "headers": headers(known)}}


def _errors(kinds: Iterable[type[BowerbirdError]]) -> dict[str, Any]:
    """One response for each status, which is all that OpenAPI has; an example for each code of it."""
    return {str(status): _error(list(same)) for status, same in groupby(kinds, key=lambda kind: kind.status)}


def _error(kinds: list[type[BowerbirdError]]) -> dict[str, Any]:
    known = dict(EVERY_ANSWER)
    if any(issubclass(kind, StageUnavailable | LimitReached | JobUnfinished) for kind in kinds):
        known["Retry-After"] = "seconds after which asking again makes sense"
    if any(kind.final for kind in kinds):
        known["x-should-retry"] = "false where it does not, although the status says so"
    if kinds[0].status == TOO_MANY:
        known |= RATE_LIMIT
    if issubclass(kinds[0], KeyInvalid):
        known["WWW-Authenticate"] = "Bearer"
    return {
        "description": "\n\n".join(f"`{kind.code}`: {fact_of(kind)}" for kind in kinds),
        "headers": headers(known),
        "content": {
            JSON: {
                "schema": reference(ErrorResponse),
                "examples": {kind.code: {"$ref": f"#/components/examples/{kind.code}"} for kind in kinds},
            }
        },
    }


def fact_of(kind: type[BowerbirdError]) -> str:
    """What the error says of itself, on one line."""
    said = " ".join((kind.__doc__ or "").split())
    return said if kind is not BowerbirdError else "Nobody foresaw this; the log has the cause."


def _example(kind: type[BowerbirdError]) -> dict[str, Any]:
    return {"error": {"message": fact_of(kind), "type": kind.type, "param": None, "code": kind.code}}
