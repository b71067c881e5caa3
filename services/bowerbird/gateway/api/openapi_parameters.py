"""The parameters of an operation as OpenAPI describes them: names in its path, its query, its headers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bowerbird.contracts import WorkClass
from bowerbird.deadline import MAX_DEADLINE_MS
from bowerbird.errors import DeadlineExceeded, IdempotencyKeyReused
from bowerbird.gateway.api.idempotency import MAX_KEY_CHARACTERS
from bowerbird.gateway.api.operation import Operation

DEADLINE = {
    "name": "Bowerbird-Deadline-Ms",
    "in": "header",
    "description": "How long you will wait, in milliseconds, in the queue and for the answer; when it has passed, the "
    "work ends and the answer is 503. Without it both are bounded apart, and so that an openai client still listens.",
    "schema": {"type": "integer", "minimum": 1, "maximum": MAX_DEADLINE_MS},
    "example": 60_000,
}
WORK_CLASS = {
    "name": "Bowerbird-Class",
    "in": "header",
    "description": "Who waits for it: somebody at a screen, or nobody in particular, who lets the others go first.",
    "schema": {"type": "string", "enum": list(WorkClass), "default": WorkClass.INTERACTIVE},
    "example": WorkClass.BATCH,
}
KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "The same key and request get the same answer for 24 hours, also while the first is being answered; "
    "pictures under a key are drawn even when you hang up.",
    "schema": {"type": "string", "minLength": 1, "maxLength": MAX_KEY_CHARACTERS, "pattern": "^[!-~]([ -~]*[!-~])?$"},
    "example": "order-4711",
}
PREFER = {
    "name": "Prefer",
    "in": "header",
    "description": "`respond-async`: answer 202 with a job; with `wait=<seconds>` only if it is not finished by then. "
    "`return=minimal`: answer 204 without the picture (of species only).",
    "schema": {"type": "string"},
    "example": "respond-async, wait=10",
}
IF_NONE_MATCH = {
    "name": "If-None-Match",
    "in": "header",
    "description": "ETags of pictures that you have (RFC 9110): where they would be the answer, it is 304 without a "
    "body, although the method is POST.",
    "schema": {"type": "string"},
    "example": '"5f5f5f5f5f5f5f5f"',
}
LAST_EVENT = {
    "name": "Last-Event-ID",
    "in": "header",
    "description": "The last event that you have heard: the stream goes on after it, at whichever replica.",
    "schema": {"type": "string", "pattern": "^[0-9]{1,9}$"},
    "example": "2",
}
RANGE = {
    "name": "Range",
    "in": "header",
    "description": "One range of bytes (RFC 9110): the answer is 206 with that part. What is no such range is passed "
    "over, and the answer is the whole.",
    "schema": {"type": "string"},
    "example": "bytes=0-65535",
}
IN_PATHS: Mapping[str, tuple[str, str]] = {
    "job": ("The job by its id.", "job_0c5f3a1b2d4e6f708192a3b4"),
    "video": ("The clip by its id.", "video_0c5f3a1b2d4e6f708192a3b4"),
    "model": ("The model by its name.", "fledgling"),
    "tenant": ("The tenant by its id.", "birds"),
    "key": ("The key by its id, which is not its text.", "key_0c5f3a1b2d4e6f70"),
    "webhook_endpoint_id": ("The endpoint by its id.", "webhook_0c5f3a1b2d4e6f70"),
    "file_id": ("The file by its id.", "file-0123456789abcdef01234567"),
    "batch_id": ("The batch by its id.", "batch_0123456789abcdef01234567"),
    "species": ("A stable name of the species, which may be public: it stands in the picture's label.", "blue-jay"),
    "erasure": ("The erasure by its id.", "erasure_0123456789abcdef01234567"),
    "export": ("The export by its id.", "export_0123456789abcdef01234567"),
}
"""Name in a path -> what it names, and an example."""
IN_QUERIES: Mapping[str, tuple[str, Any]] = {
    "limit": ("How many rows a page may have.", 20),
    "after": ("Where the page before ended.", "job_0c5f3a1b2d4e6f708192a3b4"),
    "request_id": ("Only of this one.", "req_0123456789abcdef01234567"),
    "tenant": ("Only of this one.", "birds"),
    "first_day": ("The first day.", "2026-10-23"),
    "last_day": ("The last day.", "2026-11-21"),
    "format": ("JSON or a table.", "csv"),
    "order": ("Which end of the list comes first.", "desc"),
    "variant": ("What of the clip.", "video"),
    "purpose": ("Only of this purpose.", "batch"),
}
"""Name in a query -> what it says where its schema does not, and an example."""


def parameters(operation: Operation) -> list[dict[str, Any]]:
    """Path, query, headers."""
    return [*_in_path(operation), *_in_query(operation), *_headers(operation)]


def _in_path(operation: Operation) -> Iterator[dict[str, Any]]:
    for step in operation.documented_path.split("/"):
        if step.startswith("{"):
            name = step[1:-1]
            description, example = IN_PATHS[name]
            schema = dict(operation.path_schema.get(name, {"type": "string", "minLength": 1}))
            described = schema.pop("description", description)
            yield {
                "name": name,
                "in": "path",
                "required": True,
                "description": described,
                "schema": schema,
                "example": example,
            }


def _in_query(operation: Operation) -> Iterator[dict[str, Any]]:
    for name, stated in operation.query.items():
        schema = dict(stated)
        description, example = IN_QUERIES.get(name, ("", None))
        described = schema.pop("description", description)
        yield {"name": name, "in": "query", "description": described, "schema": schema, "example": example}


def _headers(operation: Operation) -> Iterator[dict[str, Any]]:
    if operation.body is not None:
        if DeadlineExceeded in operation.facts:
            yield from (DEADLINE, WORK_CLASS)
        if IdempotencyKeyReused in operation.facts:
            yield KEY
        if operation.accepted:
            yield PREFER
    if operation.partial:
        yield RANGE
    if operation.not_modified:
        yield IF_NONE_MATCH
    if operation.nothing_left and operation.answer is None:
        yield LAST_EVENT
