"""`GET /openapi.json`: the OpenAPI 3.1 document, built once from the route table and the shapes it names."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache
from itertools import groupby
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import models_json_schema
from starlette.requests import Request
from starlette.responses import Response

from bowerbird import __version__
from bowerbird.contracts import WorkClass
from bowerbird.deadline import MAX_DEADLINE_MS
from bowerbird.errors import (
    BowerbirdError,
    DeadlineExceeded,
    IdempotencyKeyReused,
    JobUnfinished,
    KeyInvalid,
    LimitReached,
    StageUnavailable,
)
from bowerbird.gateway.api.idempotency import MAX_KEY_CHARACTERS
from bowerbird.gateway.api.operation import JSON, RATE_LIMIT, Operation
from bowerbird.gateway.api.operations import OPERATIONS
from bowerbird.gateway.api.rate_limit import TOO_MANY

_REF = "#/components/schemas/{model}"
_DEADLINE = {
    "name": "Bowerbird-Deadline-Ms",
    "in": "header",
    "description": "How long you will wait, in milliseconds, in the queue and for the answer; when it has passed, the "
    "work ends and the answer is 503. Without it both are bounded apart, and so that an openai client still listens.",
    "schema": {"type": "integer", "minimum": 1, "maximum": MAX_DEADLINE_MS},
}
_CLASS = {
    "name": "Bowerbird-Class",
    "in": "header",
    "description": "Who waits for it: somebody at a screen, or nobody in particular, who lets the others go first.",
    "schema": {"type": "string", "enum": list(WorkClass), "default": WorkClass.INTERACTIVE},
}
_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "The same key and request get the same answer for 24 hours, also while the first is being answered; "
    "pictures under a key are drawn even when you hang up.",
    "schema": {"type": "string", "minLength": 1, "maxLength": MAX_KEY_CHARACTERS, "pattern": "^[!-~]([ -~]*[!-~])?$"},
}
_PREFER = {
    "name": "Prefer",
    "in": "header",
    "description": "`respond-async`: answer 202 with a job; with `wait=<seconds>` only if it is not finished by then.",
    "schema": {"type": "string"},
}
_IF_NONE_MATCH = {
    "name": "If-None-Match",
    "in": "header",
    "description": "ETags of pictures that you have (RFC 9110): where they would be the answer, it is 304 without a "
    "body, although the method is POST.",
    "schema": {"type": "string"},
}
_LAST_EVENT = {
    "name": "Last-Event-ID",
    "in": "header",
    "description": "The last event that you have heard: the stream goes on after it, at whichever replica.",
    "schema": {"type": "string", "pattern": "^[0-9]{1,9}$"},
}
_EVERY_ANSWER = {
    "x-request-id": "the request's id, also as Bowerbird-Request-Id",
    "traceparent": "W3C trace context of the answer",
}


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


async def openapi_json(_: Request) -> Response:
    """The document."""
    return Response(json.dumps(document()), media_type=JSON)


@cache
def document() -> dict[str, Any]:
    """The whole document; depends on nothing but the code."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.documented_path, {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Bowerbird",
            "version": __version__,
            "summary": "Pictures from a prompt: checked, drawn, chosen, signed.",
            "description": "OpenAI's shapes, with more fields where they are worth it. Unknown fields, and fields that "
            "would have no effect, are refused. A null field counts as absent.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "bb_ and 49 characters",
                    "description": "A key that an administrator issued, or one of the settings, with the scope that "
                    "the operation names. Not needed on loopback without configured credentials.",
                },
                "service_account": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "The token of a Kubernetes ServiceAccount that the settings know, projected for the "
                    "audience `bowerbird`.",
                },
            },
        },
    }


def _schemas() -> dict[str, Any]:
    bodies = [(each.body, "validation") for each in OPERATIONS if each.body]
    answers = [
        (body, "serialization") for each in OPERATIONS for body in (each.answer, each.accepted, *each.events) if body
    ]
    wanted: Any = [*bodies, *answers, (ErrorResponse, "serialization")]
    _, schemas = models_json_schema(wanted, ref_template=_REF)
    defined: dict[str, Any] = schemas["$defs"]
    return defined


def _operation(operation: Operation) -> dict[str, Any]:
    documented: dict[str, Any] = {
        "operationId": operation.handler.__name__,
        "summary": operation.summary,
        "description": f"Needs the scope `{operation.scope}`." if operation.scope else "Needs no key.",
        "responses": {"200": _answer(operation), **_other_answers(operation), **_errors(operation.all_errors)},
        "security": _security(operation),
    }
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in _path_parameters(operation.documented_path)
    ]
    if operation.body is not None:
        media: dict[str, Any] = {"schema": {"$ref": _REF.format(model=operation.body.__name__)}}
        if operation.example is not None:
            media["example"] = dict(operation.example)
        documented["requestBody"] = {"required": True, "content": {operation.body_media_type: media}}
        parameters += [_DEADLINE, _CLASS] if DeadlineExceeded in operation.facts else []
        parameters += [_KEY] if IdempotencyKeyReused in operation.facts else []
        parameters += [_PREFER] if operation.accepted else []
    parameters += [_IF_NONE_MATCH] if operation.not_modified else []
    parameters += [_LAST_EVENT] if operation.nothing_left else []
    parameters += [{"name": name, "in": "query", "schema": dict(schema)} for name, schema in operation.query.items()]
    if parameters:
        documented["parameters"] = parameters
    return documented


def _security(operation: Operation) -> list[dict[str, list[str]]]:
    """Which credential is needed, and what it must allow; on loopback without configured credentials, none."""
    if operation.scope is None:
        return []
    return [{"key": [operation.scope]}, {"service_account": [operation.scope]}, {}]


def _answer(operation: Operation) -> dict[str, Any]:
    if operation.answer is None:
        content = {operation.text_media_type: {"schema": {"type": "string"}}}
    else:
        content = {JSON: {"schema": {"$ref": _REF.format(model=operation.answer.__name__)}}}
    if operation.also_media_type:
        content[operation.also_media_type] = {"schema": {"type": "string"}}
    if operation.events:
        content["text/event-stream"] = {"schema": {"type": "string", "description": _events(operation.events)}}
    return {
        "description": (operation.answer.__doc__ or "") if operation.answer else "Text.",
        "headers": _headers({**_EVERY_ANSWER, **(RATE_LIMIT if operation.scope else {}), **operation.answer_headers}),
        "content": content,
    }


def _events(bodies: Iterable[type[BaseModel]]) -> str:
    """OpenAPI 3.1 has no words for the events of a stream: they are named here, and their shapes are components."""
    told = " ".join(f"{body.__doc__} `data` is a `{body.__name__}`." for body in bodies)
    return f"{told} Event `error`: an `ErrorResponse`. Comments tell phase and place while nothing happens."


def _other_answers(operation: Operation) -> dict[str, Any]:
    return {**_accepted(operation), **_nothing_left(operation), **_not_modified(operation)}


def _nothing_left(operation: Operation) -> dict[str, Any]:
    """Status 204, where there is one."""
    if operation.nothing_left is None:
        return {}
    return {"204": {"description": operation.nothing_left, "headers": _headers(_EVERY_ANSWER)}}


def _not_modified(operation: Operation) -> dict[str, Any]:
    """Status 304, where there is one."""
    if operation.not_modified is None:
        return {}
    headers = _headers({**_EVERY_ANSWER, **operation.answer_headers})
    return {"304": {"description": operation.not_modified, "headers": headers}}


def _accepted(operation: Operation) -> dict[str, Any]:
    """Status 202, where there is one."""
    if operation.accepted is None:
        return {}
    headers = {
        "Location": "the job",
        "Retry-After": "seconds after which looking at it makes sense",
        "Preference-Applied": "RFC 7240: respond-async",
    }
    return {
        "202": {
            "description": operation.accepted.__doc__ or "",
            "headers": _headers({**_EVERY_ANSWER, **headers}),
            "content": {JSON: {"schema": {"$ref": _REF.format(model=operation.accepted.__name__)}}},
        }
    }


def _errors(kinds: Iterable[type[BowerbirdError]]) -> dict[str, Any]:
    """One response for each status; its description lists the codes, since OpenAPI has one response for a status."""
    responses = {}
    for status, same in groupby(kinds, key=lambda kind: kind.status):
        listed = list(same)
        headers = dict(_EVERY_ANSWER)
        if any(issubclass(kind, StageUnavailable | LimitReached | JobUnfinished) for kind in listed):
            headers["Retry-After"] = "seconds after which asking again makes sense"
        if any(kind.final for kind in listed):
            headers["x-should-retry"] = "false where it does not, although the status says so"
        if status == TOO_MANY:
            headers |= RATE_LIMIT
        if issubclass(listed[0], KeyInvalid):
            headers["WWW-Authenticate"] = "Bearer"
        responses[str(status)] = {
            "description": "\n\n".join(f"`{kind.code}`: {_fact(kind)}" for kind in listed),
            "headers": _headers(headers),
            "content": {JSON: {"schema": {"$ref": _REF.format(model="ErrorResponse")}}},
        }
    return responses


def _fact(kind: type[BowerbirdError]) -> str:
    return (kind.__doc__ or "").strip() if kind is not BowerbirdError else "Nobody foresaw this; the log has the cause."


def _headers(described: dict[str, str]) -> dict[str, Any]:
    return {name: {"description": text, "schema": {"type": "string"}} for name, text in described.items()}


def _path_parameters(path: str) -> list[str]:
    return [step[1:-1] for step in path.split("/") if step.startswith("{")]
