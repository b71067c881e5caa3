"""`/v1/webhook_endpoints`: whom a tenant wants told that its jobs and batches have ended, in OpenAI's present shapes.

A signing secret stands in the answer that makes it, once; nobody on the way may keep that answer.
"""

from __future__ import annotations

import time

from starlette.requests import Request
from starlette.responses import Response

from bowerbird.errors import FeatureUnavailable, WebhookUnreachable
from bowerbird.gateway.api.admin_keys import NO_STORE
from bowerbird.gateway.api.admin_tenants import author_of
from bowerbird.gateway.api.arrival import gateway_of
from bowerbird.gateway.api.body import ResponseBody, read_json
from bowerbird.gateway.api.paging import limit_of, path_id, text_of
from bowerbird.gateway.api.webhook_bodies import (
    CreateWebhookEndpoint,
    DeletedWebhookEndpoint,
    RotateWebhookSecret,
    TryWebhookEndpoint,
    UpdateWebhookEndpoint,
    WebhookDeliveryList,
    WebhookEndpointBody,
    WebhookEndpointList,
    WebhookEndpointWithSecret,
    WebhookEventTypeList,
    WebhookTestResult,
    delivery_of,
    facts_of,
)
from bowerbird.gateway.webhooks.endpoints import Change, Endpoint, NewEndpoint, WithSecret
from bowerbird.gateway.webhooks.events import EventType, sample_event
from bowerbird.gateway.webhooks.opening import Webhooks
from bowerbird.gateway.webhooks.receivers import check_url
from bowerbird.gateway.webhooks.sealing import SealBroken


async def create_webhook_endpoint(request: Request) -> Response:
    """A new endpoint, enabled, and its secret."""
    webhooks = _webhooks(request)
    asked = await read_json(request, CreateWebhookEndpoint)
    check_url(asked.url, webhooks.addresses, webhooks.plain_http)
    new = NewEndpoint(asked.name, asked.url, frozenset(asked.event_types))
    return _with_secret(await webhooks.endpoints.create(request.state.tenant, new, author_of(request)))


async def list_webhook_endpoints(request: Request) -> Response:
    """A page of endpoints."""
    webhooks = _webhooks(request)
    found, more = await webhooks.endpoints.page(request.state.tenant, limit_of(request), text_of(request, "after"))
    body = WebhookEndpointList(
        data=[WebhookEndpointBody(**facts_of(each)) for each in found],
        has_more=more,
        first_id=found[0].id if found else None,
        last_id=found[-1].id if found else None,
    )
    return _json(body)


async def get_webhook_endpoint(request: Request) -> Response:
    """One endpoint."""
    return _json(WebhookEndpointBody(**facts_of(await _endpoint(request))))


async def update_webhook_endpoint(request: Request) -> Response:
    """The endpoint as it is now."""
    webhooks = _webhooks(request)
    asked = await read_json(request, UpdateWebhookEndpoint)
    if asked.url is not None:
        check_url(asked.url, webhooks.addresses, webhooks.plain_http)
    kinds = None if asked.event_types is None else frozenset(asked.event_types)
    change = Change(asked.name, asked.url, kinds, asked.enabled)
    changed = await webhooks.endpoints.change(request.state.tenant, _id(request), change, author_of(request))
    return _json(WebhookEndpointBody(**facts_of(changed)))


async def delete_webhook_endpoint(request: Request) -> Response:
    """Nothing is told to it any more."""
    await _webhooks(request).endpoints.delete(request.state.tenant, _id(request), author_of(request))
    return _json(DeletedWebhookEndpoint(id=_id(request)))


async def rotate_webhook_secret(request: Request) -> Response:
    """A new secret."""
    webhooks = _webhooks(request)
    asked = await read_json(request, RotateWebhookSecret)
    overlap = asked.keep_old_secret_active_for_24_hours
    return _with_secret(
        await webhooks.endpoints.rotate(request.state.tenant, _id(request), overlap, author_of(request))
    )


async def try_webhook_endpoint(request: Request) -> Response:
    """Sends a sample, once and now, also where the endpoint is disabled; raises WebhookUnreachable."""
    webhooks = _webhooks(request)
    asked = await read_json(request, TryWebhookEndpoint)
    receiver = await webhooks.endpoints.receiver(request.state.tenant, _id(request))
    try:
        secrets = [webhooks.sealer.open(each, receiver.endpoint_id) for each in receiver.sealed]
    except SealBroken:
        raise FeatureUnavailable(
            "No key of this gateway opens the endpoint's secret. Rotate it, or give the key back to the gateway."
        ) from None
    event = sample_event(asked.event_type, round(time.time() * 1000))
    attempt = await webhooks.sender.send(receiver.url, event, secrets)
    if attempt.status is None:
        raise WebhookUnreachable(
            f"The receiver did not answer: {attempt.outcome}.",
            param="url",
            details={"outcome": attempt.outcome, "latency_ms": attempt.latency_ms},
        )
    body = WebhookTestResult(
        webhook_endpoint_id=receiver.endpoint_id,
        event_type=asked.event_type,
        status_code=attempt.status,
        latency_ms=attempt.latency_ms,
    )
    return _json(body)


async def list_webhook_deliveries(request: Request) -> Response:
    """A page of an endpoint's deliveries, with their attempts."""
    endpoint = await _endpoint(request)
    found, more = await _webhooks(request).log.page(endpoint.id, limit_of(request), text_of(request, "after"))
    body = WebhookDeliveryList(
        data=[delivery_of(each, endpoint) for each in found],
        has_more=more,
        first_id=found[0].event_id if found else None,
        last_id=found[-1].event_id if found else None,
    )
    return _json(body)


async def list_webhook_event_types(request: Request) -> Response:
    """What can be told."""
    return _json(WebhookEventTypeList(data=list(EventType)))


def _webhooks(request: Request) -> Webhooks:
    webhooks = gateway_of(request).webhooks
    if webhooks is None:
        raise FeatureUnavailable(
            "Webhooks are not set up here: gateways that share a database need BOWERBIRD_WEBHOOK_KEYS."
        )
    return webhooks


def _id(request: Request) -> str:
    return path_id(request, "webhook_endpoint_id")


async def _endpoint(request: Request) -> Endpoint:
    return await _webhooks(request).endpoints.get(request.state.tenant, _id(request))


def _json(body: ResponseBody) -> Response:
    return Response(body.model_dump_json(), media_type="application/json")


def _with_secret(made: WithSecret) -> Response:
    body = WebhookEndpointWithSecret(**facts_of(made.endpoint), signing_secret=made.secret)
    return Response(body.model_dump_json(), 200, NO_STORE, "application/json")
