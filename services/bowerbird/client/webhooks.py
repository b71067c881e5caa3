"""`/v1/webhook_endpoints`: whom the gateway tells that jobs and batches have ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

from bowerbird.client.batches import Deleted
from bowerbird.client.calls import Call, Page, Value, get, last_id, page_of, step, value_of

ENDPOINTS = "/v1/webhook_endpoints"


class EndpointChanges(TypedDict, total=False):
    """What is to be different."""

    name: str
    url: str
    event_types: list[str]
    enabled: bool


class WebhookEndpoint(Value):
    """A server that is told."""

    id: str
    name: str
    url: str
    event_types: list[str]
    enabled: bool
    disabled_reason: str | None
    signing_secret: str | None = None
    """Only in the answer that made it, this once."""


class WebhookTest(Value):
    """The receiver answered a sample event."""

    success: bool
    status_code: int
    latency_ms: int


def create_webhook(name: str, url: str, event_types: Sequence[str]) -> Call[WebhookEndpoint]:
    """`POST /v1/webhook_endpoints`. Not sent again when the connection breaks: it might have made one already."""
    body = {"name": name, "url": url, "event_types": list(event_types)}
    return Call("POST", ENDPOINTS, value_of(WebhookEndpoint), json=body)


def get_webhook(endpoint_id: str) -> Call[WebhookEndpoint]:
    """`GET /v1/webhook_endpoints/{id}`."""
    return get(_path(endpoint_id), value_of(WebhookEndpoint))


def list_webhooks(limit: int | None = None, after: str | None = None) -> Call[Page[WebhookEndpoint]]:
    """`GET /v1/webhook_endpoints`, newest first."""
    return get(ENDPOINTS, page_of(WebhookEndpoint, last_id), limit=limit, after=after)


def change_webhook(endpoint_id: str, changes: EndpointChanges) -> Call[WebhookEndpoint]:
    """`POST /v1/webhook_endpoints/{id}`."""
    return Call("POST", _path(endpoint_id), value_of(WebhookEndpoint), json=dict(changes), repeatable=True)


def delete_webhook(endpoint_id: str) -> Call[Deleted]:
    """`DELETE /v1/webhook_endpoints/{id}`."""
    return Call("DELETE", _path(endpoint_id), value_of(Deleted))


def rotate_webhook_secret(endpoint_id: str, keep_old_for_a_day: bool = False) -> Call[WebhookEndpoint]:
    """`POST /v1/webhook_endpoints/{id}/rotate_secret`; the new secret is in this answer only."""
    body = {"keep_old_secret_active_for_24_hours": keep_old_for_a_day}
    return Call("POST", f"{_path(endpoint_id)}/rotate_secret", value_of(WebhookEndpoint), json=body)


def try_webhook(endpoint_id: str, event_type: str) -> Call[WebhookTest]:
    """`POST /v1/webhook_endpoints/{id}/test`: a sample is sent now; raises WebhookUnreachable."""
    return Call("POST", f"{_path(endpoint_id)}/test", value_of(WebhookTest), json={"event_type": event_type})


def _path(endpoint_id: str) -> str:
    return f"{ENDPOINTS}/{step(endpoint_id)}"
