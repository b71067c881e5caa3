"""What cannot be done about a webhook endpoint."""

from __future__ import annotations

from bowerbird.errors.error import BowerbirdError


class WebhookEndpointUnknown(BowerbirdError):
    """There is no webhook endpoint of this id; one of another tenant looks the same."""

    status = 404
    type = "invalid_request_error"
    code = "webhook_endpoint_not_found"


class WebhookDeliveryUnknown(BowerbirdError):
    """Nothing of this id was to be told to this endpoint, or it is forgotten."""

    status = 404
    type = "invalid_request_error"
    code = "webhook_delivery_not_found"


class TooManyWebhookEndpoints(BowerbirdError):
    """The tenant has as many webhook endpoints as it may."""

    status = 409
    type = "invalid_request_error"
    code = "too_many_webhook_endpoints"
    final = True


class WebhookUnreachable(BowerbirdError):
    """The receiver of a test did not answer; the error says how it failed, as the log of deliveries does."""

    status = 502
    code = "webhook_unreachable"
    final = True
