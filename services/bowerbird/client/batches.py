"""`/v1/files` and `/v1/batches`: many requests in one file, drawn when nobody else waits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bowerbird.client.calls import Call, File, Page, Received, Value, get, keyed, last_id, page_of, step, value_of

FILES = "/v1/files"
BATCHES = "/v1/batches"
FINAL = frozenset({"completed", "failed", "expired", "cancelled"})


class StoredFile(Value):
    """A file that the gateway keeps."""

    id: str
    bytes: int
    created_at: int
    """Unix seconds, as every `…_at`."""
    filename: str
    purpose: str
    status: str
    expires_at: int | None = None


class Deleted(Value):
    """It is gone."""

    id: str
    deleted: bool


class RequestCounts(Value):
    """Lines of a batch."""

    total: int
    completed: int
    failed: int


class Batch(Value):
    """A batch as the gateway last knew it."""

    id: str
    endpoint: str
    status: str
    """validating, in_progress, finalizing, cancelling; at its end completed, failed, expired or cancelled."""
    input_file_id: str
    output_file_id: str | None = None
    error_file_id: str | None = None
    """Its lines that failed."""
    created_at: int
    """Unix seconds."""
    expires_at: int | None = None
    request_counts: RequestCounts | None = None
    errors: dict[str, Any] | None = None
    metadata: dict[str, str] | None = None


def upload_file(file: File, purpose: str = "batch") -> Call[StoredFile]:
    """`POST /v1/files`: up to 200 MB, read from the file while it is sent."""
    return keyed(Call("POST", FILES, value_of(StoredFile), fields={"purpose": purpose}, files={"file": file}))


def get_file(file_id: str) -> Call[StoredFile]:
    """`GET /v1/files/{file_id}`."""
    return get(f"{FILES}/{step(file_id)}", value_of(StoredFile))


def list_files(limit: int | None = None, after: str | None = None) -> Call[Page[StoredFile]]:
    """`GET /v1/files`, newest first."""
    return get(FILES, page_of(StoredFile, last_id), limit=limit, after=after)


def file_content(file_id: str) -> Call[bytes]:
    """`GET /v1/files/{file_id}/content`; what is large is better downloaded (`Client.download`)."""
    return get(f"{FILES}/{step(file_id)}/content", _body)


def delete_file(file_id: str) -> Call[Deleted]:
    """`DELETE /v1/files/{file_id}`."""
    return Call("DELETE", f"{FILES}/{step(file_id)}", value_of(Deleted))


def create_batch(input_file_id: str, endpoint: str, metadata: Mapping[str, str] | None = None) -> Call[Batch]:
    """`POST /v1/batches`; `endpoint` is the path that every line of the file is for."""
    asked: dict[str, Any] = {"input_file_id": input_file_id, "endpoint": endpoint, "completion_window": "24h"}
    stated = {} if metadata is None else {"metadata": dict(metadata)}
    return keyed(Call("POST", BATCHES, value_of(Batch), json=asked | stated))


def get_batch(batch_id: str) -> Call[Batch]:
    """`GET /v1/batches/{batch_id}`."""
    return get(f"{BATCHES}/{step(batch_id)}", value_of(Batch))


def list_batches(limit: int | None = None, after: str | None = None) -> Call[Page[Batch]]:
    """`GET /v1/batches`, newest first."""
    return get(BATCHES, page_of(Batch, last_id), limit=limit, after=after)


def cancel_batch(batch_id: str) -> Call[Batch]:
    """`POST /v1/batches/{batch_id}/cancel`; what is finished stays. Cancelling twice is cancelling."""
    return Call("POST", f"{BATCHES}/{step(batch_id)}/cancel", value_of(Batch), repeatable=True)


def _body(received: Received) -> bytes:
    return received.body
