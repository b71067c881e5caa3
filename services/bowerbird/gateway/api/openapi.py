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
from bowerbird.deadline import MAX_DEADLINE_MS
from bowerbird.errors import BowerbirdError, StageUnavailable
from bowerbird.gateway.api.operations import JSON, OPERATIONS, TEXT, Operation

_REF = "#/components/schemas/{model}"
_DEADLINE = {
    "name": "Bowerbird-Deadline-Ms",
    "in": "header",
    "description": "How long you will wait, in milliseconds; when it has passed, the work ends and the answer is 503.",
    "schema": {"type": "integer", "minimum": 1, "maximum": MAX_DEADLINE_MS},
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
                    "description": "Not needed on loopback without configured keys.",
                }
            },
        },
    }


def _schemas() -> dict[str, Any]:
    bodies = [(each.body, "validation") for each in OPERATIONS if each.body]
    answers = [(each.answer, "serialization") for each in OPERATIONS if each.answer]
    wanted: Any = [*bodies, *answers, (ErrorResponse, "serialization")]
    _, schemas = models_json_schema(wanted, ref_template=_REF)
    defined: dict[str, Any] = schemas["$defs"]
    return defined


def _operation(operation: Operation) -> dict[str, Any]:
    documented: dict[str, Any] = {
        "operationId": operation.handler.__name__,
        "summary": operation.summary,
        "responses": {"200": _answer(operation), **_errors(operation.all_errors)},
        "security": [{"key": []}, {}] if operation.needs_key else [],
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
        parameters.append(_DEADLINE)
    if parameters:
        documented["parameters"] = parameters
    return documented


def _answer(operation: Operation) -> dict[str, Any]:
    if operation.answer is None:
        content = {TEXT: {"schema": {"type": "string"}}}
    else:
        content = {JSON: {"schema": {"$ref": _REF.format(model=operation.answer.__name__)}}}
    return {
        "description": (operation.answer.__doc__ or "") if operation.answer else "Text.",
        "headers": _headers({**_EVERY_ANSWER, **operation.answer_headers}),
        "content": content,
    }


def _errors(kinds: Iterable[type[BowerbirdError]]) -> dict[str, Any]:
    """One response for each status; its description lists the codes, since OpenAPI has one response for a status."""
    responses = {}
    for status, same in groupby(kinds, key=lambda kind: kind.status):
        listed = list(same)
        headers = dict(_EVERY_ANSWER)
        if any(issubclass(kind, StageUnavailable) for kind in listed):
            headers["Retry-After"] = "seconds after which asking again makes sense"
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
