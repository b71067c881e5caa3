"""The shapes of `/v1/webhook_endpoints`: OpenAI's, with fields of ours about failing and being disabled."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from bowerbird.gateway.api.body import RequestBody, ResponseBody
from bowerbird.gateway.webhooks.endpoints import Endpoint
from bowerbird.gateway.webhooks.events import EventType
from bowerbird.gateway.webhooks.log import LoggedDelivery
from bowerbird.gateway.webhooks.receivers import MAX_URL_CHARACTERS

Name = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
Url = Annotated[str, StringConstraints(min_length=1, max_length=MAX_URL_CHARACTERS)]
EventTypes = Annotated[list[EventType], Field(min_length=1, max_length=len(EventType))]

_URL = (
    "Where it is told, by POST: https, a public host. It is not shown in logs; redirects are not followed, and of the "
    "answer nothing but the status is read, within ten seconds. 2xx is good; anything else is tried again for a day."
)
_TYPES = "What it is told: that jobs (`image.job.…`) or batches (`batch.…`) have ended, and how."


class CreateWebhookEndpoint(RequestBody):
    """A new endpoint."""

    name: Name = Field(description="For people, to tell endpoints apart.")
    url: Url = Field(description=_URL, examples=["https://birds.example/hooks/bowerbird"])
    event_types: EventTypes = Field(description=_TYPES)

    PERSONAL = frozenset({"url"})


class UpdateWebhookEndpoint(RequestBody):
    """What is to change; what is absent stays."""

    name: Name | None = None
    url: Url | None = Field(default=None, description=_URL)
    event_types: EventTypes | None = Field(default=None, description=_TYPES)
    enabled: bool | None = Field(
        default=None,
        description="false: nothing is told to it. true: also what was written down in the last day before it was "
        "disabled is told now.",
    )

    PERSONAL = frozenset({"url"})


class RotateWebhookSecret(RequestBody):
    """How the present secret ends."""

    keep_old_secret_active_for_24_hours: bool = Field(
        default=False, description="Sign with both for a day; without it the present one ends at once."
    )


class TryWebhookEndpoint(RequestBody):
    """Which sample is sent."""

    event_type: EventType = Field(description="It is about a job or batch that does not exist.")


class WebhookEndpointBody(ResponseBody):
    """An endpoint, without its secret."""

    object: Literal["webhook_endpoint"] = "webhook_endpoint"
    id: str
    name: str
    url: str
    event_types: list[EventType]
    signing_secret_hint: str = Field(description="How the secret ends.")
    previous_secret_expires_at: int | None = Field(
        description="Unix seconds; until then the secret before this one signs as well."
    )
    created_at: int = Field(description="Unix seconds.")
    updated_at: int = Field(description="Unix seconds; when it was changed last, or its secret.")
    enabled: bool = Field(description="Whether it is told anything.")
    disabled_at: int | None = Field(description="Unix seconds.")
    disabled_reason: Literal["by_tenant", "no_delivery_for_a_day", "gone"] | None = Field(
        description="`no_delivery_for_a_day`: it took nothing while an event was tried for 24 hours; `gone`: it "
        "answered 410. Enable it again by `enabled`."
    )
    failing_since: int | None = Field(description="Unix seconds; of the first failed attempt since a good one.")


class WebhookEndpointWithSecret(WebhookEndpointBody):
    """An endpoint and its new secret, this once."""

    signing_secret: str = Field(description="`whsec_` and base64 of 32 bytes. Nobody can show it again.")


class WebhookEndpointList(ResponseBody):
    """Endpoints of the tenant, newest first."""

    object: Literal["list"] = "list"
    data: list[WebhookEndpointBody]
    has_more: bool
    first_id: str | None
    last_id: str | None = Field(description="Send it as `after` for the next page.")


class DeletedWebhookEndpoint(ResponseBody):
    """It is gone, with everything that was to be told to it."""

    object: Literal["webhook_endpoint.deleted"] = "webhook_endpoint.deleted"
    id: str
    deleted: Literal[True] = True


class WebhookTestResult(ResponseBody):
    """The receiver answered."""

    object: Literal["webhook_endpoint.test"] = "webhook_endpoint.test"
    webhook_endpoint_id: str
    event_type: EventType
    success: Literal[True] = Field(default=True, description="It answered; whether well, the status says.")
    status_code: int
    latency_ms: int = Field(description="Until the status was there.")


class WebhookEventTypeList(ResponseBody):
    """Every type that an endpoint can be told."""

    object: Literal["list"] = "list"
    data: list[EventType]


class WebhookAttempt(ResponseBody):
    """One request to the receiver."""

    number: int = Field(description="From 1.")
    at: int = Field(description="Unix seconds when it had ended.")
    outcome: str = Field(
        description="delivered, error_status, redirected, timed_out, name_unresolved, address_refused, tls_failed, "
        "connection_failed, answer_broken, or secret_unreadable, which is the gateway's own fault."
    )
    status_code: int | None
    latency_ms: int


class WebhookDelivery(ResponseBody):
    """One event for one endpoint."""

    object: Literal["webhook_delivery"] = "webhook_delivery"
    id: str = Field(description="Of the event, also `webhook-id`: the same in every attempt.")
    event_type: str
    subject: str = Field(description="The job or batch.")
    status: Literal["waiting", "delivered", "failed"]
    created_at: int = Field(description="Unix seconds.")
    next_attempt_at: int | None = Field(description="Unix seconds, while it waits.")
    finished_at: int | None = Field(description="Unix seconds.")
    attempts: list[WebhookAttempt]


class WebhookDeliveryList(ResponseBody):
    """What was told in the last seven days, newest first."""

    object: Literal["list"] = "list"
    data: list[WebhookDelivery]
    has_more: bool
    first_id: str | None
    last_id: str | None = Field(description="Send it as `after` for the next page.")


def facts_of(endpoint: Endpoint) -> dict[str, object]:
    return {
        "id": endpoint.id,
        "name": endpoint.name,
        "url": endpoint.url,
        "event_types": list(endpoint.event_types),
        "signing_secret_hint": endpoint.secret_hint,
        "previous_secret_expires_at": _seconds(endpoint.previous_until_ms),
        "created_at": endpoint.created_ms // 1000,
        "updated_at": endpoint.updated_ms // 1000,
        "enabled": endpoint.disabled_ms is None,
        "disabled_at": _seconds(endpoint.disabled_ms),
        "disabled_reason": endpoint.disabled_reason,
        "failing_since": _seconds(endpoint.failing_since_ms),
    }


def delivery_of(logged: LoggedDelivery, endpoint: Endpoint) -> WebhookDelivery:
    tried_again = logged.state == "waiting" and endpoint.disabled_ms is None
    return WebhookDelivery(
        id=logged.event_id,
        event_type=logged.event_type,
        subject=logged.subject,
        status=logged.state,
        created_at=logged.created_ms // 1000,
        next_attempt_at=logged.next_ms // 1000 if tried_again else None,
        finished_at=_seconds(logged.finished_ms),
        attempts=[
            WebhookAttempt(
                number=each.number,
                at=each.at_ms // 1000,
                outcome=each.outcome,
                status_code=each.status,
                latency_ms=each.latency_ms,
            )
            for each in logged.attempts
        ],
    )


def _seconds(milliseconds: int | None) -> int | None:
    return None if milliseconds is None else milliseconds // 1000
