"""The webhooks' part of the route table."""

from __future__ import annotations

from bowerbird import errors
from bowerbird.gateway.api import webhook_bodies, webhook_endpoints
from bowerbird.gateway.api.operation import WITH_BODY, WITH_RECORDS, Operation
from bowerbird.gateway.api.paging import AFTER_SCHEMA, LIMIT_SCHEMA
from bowerbird.gateway.identity.scopes import Scope

PAGE = {"limit": LIMIT_SCHEMA, "after": AFTER_SCHEMA}
ANY = (*WITH_RECORDS, errors.FeatureUnavailable)
OF_ONE = (*ANY, errors.WebhookEndpointUnknown)
ONE = "/v1/webhook_endpoints/{webhook_endpoint_id}"

WEBHOOK_OPERATIONS = (
    Operation(
        "GET",
        "/v1/webhook_event_types",
        webhook_endpoints.list_webhook_event_types,
        "List what webhooks can tell",
        webhook_bodies.WebhookEventTypeList,
        scope=Scope.WEBHOOKS_READ,
    ),
    Operation(
        "POST",
        "/v1/webhook_endpoints",
        webhook_endpoints.create_webhook_endpoint,
        "Have a server told that jobs and batches have ended; the signing secret is in this answer only",
        webhook_bodies.WebhookEndpointWithSecret,
        facts=(*WITH_BODY, *ANY, errors.TooManyWebhookEndpoints),
        body=webhook_bodies.CreateWebhookEndpoint,
        example={
            "name": "application",
            "url": "https://birds.example/hooks/bowerbird",
            "event_types": ["image.job.succeeded", "image.job.failed"],
        },
        scope=Scope.WEBHOOKS_WRITE,
    ),
    Operation(
        "GET",
        "/v1/webhook_endpoints",
        webhook_endpoints.list_webhook_endpoints,
        "List webhook endpoints, newest first",
        webhook_bodies.WebhookEndpointList,
        facts=(*OF_ONE, errors.RequestInvalid),
        query=PAGE,
        scope=Scope.WEBHOOKS_READ,
    ),
    Operation(
        "GET",
        ONE,
        webhook_endpoints.get_webhook_endpoint,
        "See one webhook endpoint, and whether it fails",
        webhook_bodies.WebhookEndpointBody,
        facts=OF_ONE,
        scope=Scope.WEBHOOKS_READ,
    ),
    Operation(
        "POST",
        ONE,
        webhook_endpoints.update_webhook_endpoint,
        "Change a webhook endpoint, disable it, or enable it again",
        webhook_bodies.WebhookEndpointBody,
        facts=(*WITH_BODY, *OF_ONE),
        body=webhook_bodies.UpdateWebhookEndpoint,
        example={"enabled": True},
        scope=Scope.WEBHOOKS_WRITE,
    ),
    Operation(
        "DELETE",
        ONE,
        webhook_endpoints.delete_webhook_endpoint,
        "Delete a webhook endpoint with what was still to be told to it",
        webhook_bodies.DeletedWebhookEndpoint,
        facts=OF_ONE,
        scope=Scope.WEBHOOKS_WRITE,
    ),
    Operation(
        "POST",
        f"{ONE}/rotate_secret",
        webhook_endpoints.rotate_webhook_secret,
        "Sign with a new secret; the former one may sign beside it for a day",
        webhook_bodies.WebhookEndpointWithSecret,
        facts=(*WITH_BODY, *OF_ONE),
        body=webhook_bodies.RotateWebhookSecret,
        example={"keep_old_secret_active_for_24_hours": True},
        scope=Scope.WEBHOOKS_WRITE,
    ),
    Operation(
        "POST",
        f"{ONE}/test",
        webhook_endpoints.try_webhook_endpoint,
        "Send a sample event now",
        webhook_bodies.WebhookTestResult,
        facts=(*WITH_BODY, *OF_ONE, errors.WebhookUnreachable),
        body=webhook_bodies.TryWebhookEndpoint,
        example={"event_type": "image.job.succeeded"},
        scope=Scope.WEBHOOKS_WRITE,
    ),
    Operation(
        "GET",
        f"{ONE}/deliveries",
        webhook_endpoints.list_webhook_deliveries,
        "See what was told to a webhook endpoint in the last seven days, with every attempt",
        webhook_bodies.WebhookDeliveryList,
        facts=(*OF_ONE, errors.WebhookDeliveryUnknown, errors.RequestInvalid),
        query=PAGE,
        scope=Scope.WEBHOOKS_READ,
    ),
)
