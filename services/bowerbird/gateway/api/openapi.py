"""`GET /openapi.json`: the OpenAPI 3.1 document, built once from the route table and the shapes it names.

The document of this version lies in `services/openapi.json`, so that a change of the API is seen where code is read,
and that of the last release beside it, against which CI looks for what breaks clients. `python -m
bowerbird.gateway.api.openapi` prints it; a test compares.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from bowerbird import __version__
from bowerbird.gateway.api.openapi_answers import (
    ErrorResponse,
    error_examples,
    reference,
    responses,
    shared_headers,
)
from bowerbird.gateway.api.openapi_parameters import parameters
from bowerbird.gateway.api.openapi_schemas import schemas
from bowerbird.gateway.api.operation import JSON, Operation
from bowerbird.gateway.api.operations import OPERATIONS

INFO = {
    "title": "Bowerbird",
    "version": __version__,
    "summary": "Pictures from a prompt: checked, drawn, chosen, signed.",
    "description": "OpenAI's shapes, with more fields where they are worth it. Unknown fields and query parameters, "
    "and fields that would have no effect, are refused. A null field counts as absent. Answers may get new fields, and "
    "lists of words in answers new words: pass over what you do not know. A path that is not here is 404 "
    "`unknown_url`, another method 405 `method_not_supported`.",
    "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
}
TAGS = {
    "Pictures": ("Draw, edit, watch.", ("/v1/images", "/v1/species")),
    "Clips": ("Pictures that move, drawn as jobs.", ("/v1/videos",)),
    "Jobs": ("Pictures that are drawn whatever happens to the connection.", ("/v1/jobs",)),
    "Batches": ("Many requests in one file, answered when nobody else waits.", ("/v1/files", "/v1/batches")),
    "Models": ("What can be drawn with.", ("/v1/models", "/v1/loras")),
    "Checks": ("What may be drawn, and where a picture comes from.", ("/v1/moderations", "/v1/content_provenance")),
    "Feedback and usage": ("What people thought of pictures, and what was drawn.", ("/v1/feedback", "/v1/usage")),
    "Webhooks": ("Who is told that something has ended.", ("/v1/webhook",)),
    "Rights": ("What is kept about a person: as a file, or not any more.", ("/v1/erasures", "/v1/exports")),
    "Administration": ("Tenants, keys, the audit log.", ("/v1/admin",)),
    "Health": ("For those who run it.", ("/livez", "/readyz", "/metrics")),
}
"""Subject -> what it is about, and how its paths begin."""
CREDENTIALS = {
    "key": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "bb_ and 49 characters",
        "description": "A key that an administrator issued, or one of the settings, with the scope that the operation "
        "names. Not needed on loopback without configured credentials.",
    },
    "service_account": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "The token of a Kubernetes ServiceAccount that the settings know, projected for the audience "
        "`bowerbird`.",
    },
}


async def openapi_json(_: Request) -> Response:
    """The document."""
    return Response(json.dumps(document()), media_type=JSON)


@cache
def document() -> dict[str, Any]:
    """The whole document; depends on nothing but the code."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.documented_path, {})[operation.method.lower()] = _operation(operation)
    _name(paths)
    return {
        "openapi": "3.1.0",
        "info": INFO,
        "tags": [{"name": name, "description": about} for name, (about, _) in TAGS.items()],
        "paths": paths,
        "components": {
            "schemas": schemas(OPERATIONS, (ErrorResponse,)),
            "examples": error_examples(OPERATIONS),
            "headers": shared_headers(),
            "securitySchemes": CREDENTIALS,
        },
    }


def text() -> str:
    """The document as it is checked in."""
    return json.dumps(document(), indent=1, ensure_ascii=False) + "\n"


def _name(paths: dict[str, dict[str, Any]]) -> None:
    """Gives each operation a name of its own: where administrators' has the same handler as another, `admin_…`."""
    used: set[str] = set()
    for path in sorted(paths, key=lambda each: each.startswith("/v1/admin")):
        for operation in paths[path].values():
            if operation["operationId"] in used:
                operation["operationId"] = f"admin_{operation['operationId']}"
            used.add(operation["operationId"])


def _operation(operation: Operation) -> dict[str, Any]:
    documented: dict[str, Any] = {
        "operationId": operation.handler.__name__,
        "tags": [name for name, (_, begins) in TAGS.items() if operation.path.startswith(begins)],
        "summary": operation.summary,
        "description": f"Needs the scope `{operation.scope}`." if operation.scope else "Needs no key.",
        "responses": responses(operation),
        "security": _security(operation),
    }
    if operation.body is not None:
        media: dict[str, Any] = {"schema": reference(operation.body)}
        if operation.example is not None:
            media["example"] = dict(operation.example)
        content = {operation.body_media_type: media}
        if operation.also_body_media_type is not None:
            content[operation.also_body_media_type] = {"schema": reference(operation.also_body or operation.body)}
        documented["requestBody"] = {"required": True, "content": content}
    if asked := parameters(operation):
        documented["parameters"] = asked
    return documented


def _security(operation: Operation) -> list[dict[str, list[str]]]:
    """Which credential is needed, and what it must allow; on loopback without configured credentials, none."""
    if operation.scope is None:
        return []
    return [{"key": [operation.scope]}, {"service_account": [operation.scope]}, {}]


if __name__ == "__main__":
    print(text(), end="")
