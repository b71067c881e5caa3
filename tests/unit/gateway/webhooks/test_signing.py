"""The unmodified `openai` client believes what is signed here, and nothing that was altered or replayed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from openai import InvalidWebhookSignatureError, OpenAI
from standardwebhooks import Webhook

from bowerbird.gateway.webhooks.events import Event, EventType, new_event_id
from bowerbird.gateway.webhooks.signing import hint_of, make_secret, secret_text, signed_headers

CLIENT = OpenAI(api_key="unused")
TOLERANCE = timedelta(minutes=5)


def event(kind: EventType = EventType.BATCH_COMPLETED) -> Event:
    return Event(new_event_id(), kind, "batch_1", 1_795_262_400_123)


def signed(secrets: list[bytes], late: timedelta = timedelta()) -> tuple[bytes, dict[str, str]]:
    told = event()
    return told.body, signed_headers(told, datetime.now(UTC) - late, secrets)


@pytest.mark.parametrize("kind", [each for each in EventType if each.startswith("batch.")])
def test_a_batchs_event_is_unwrapped_as_its_type(kind: EventType) -> None:
    secret, told = make_secret(), event(kind)
    unwrapped = CLIENT.webhooks.unwrap(
        told.body, signed_headers(told, datetime.now(UTC), [secret]), secret=secret_text(secret)
    )
    assert type(unwrapped).__name__ == f"Batch{kind.removeprefix('batch.').capitalize()}WebhookEvent"
    assert (unwrapped.id, unwrapped.type, unwrapped.object) == (told.id, kind.value, "event")
    assert (unwrapped.created_at, unwrapped.data.id) == (1_795_262_400, "batch_1")  # type: ignore[union-attr]


def test_a_jobs_event_is_verified_and_read_though_the_client_has_no_type_for_it() -> None:
    secret, told = make_secret(), event(EventType.IMAGE_JOB_SUCCEEDED)
    headers = signed_headers(told, datetime.now(UTC), [secret])
    unwrapped = CLIENT.webhooks.unwrap(told.body, headers, secret=secret_text(secret))
    assert unwrapped.type == "image.job.succeeded"  # type: ignore[comparison-overlap]
    Webhook(secret_text(secret)).verify(told.body, headers)


def test_while_a_secret_is_replaced_either_verifies() -> None:
    new, former = make_secret(), make_secret()
    body, headers = signed([new, former])
    for secret in (new, former):
        CLIENT.webhooks.verify_signature(body, headers, secret=secret_text(secret))
        Webhook(secret).verify(body, headers)
    with pytest.raises(InvalidWebhookSignatureError):
        CLIENT.webhooks.verify_signature(body, headers, secret=secret_text(make_secret()))


@pytest.mark.parametrize("part", ["body", "webhook-id", "webhook-timestamp", "webhook-signature"])
def test_an_altered_webhook_is_not_believed(part: str) -> None:
    secret = make_secret()
    body, headers = signed([secret])
    if part == "body":
        body = body.replace(b"batch_1", b"batch_2")
    elif part == "webhook-timestamp":
        headers[part] = str(int(headers[part]) + 1)
    elif part == "webhook-id":
        headers[part] = new_event_id()
    else:
        headers[part] = signed([make_secret()])[1][part]
    with pytest.raises(InvalidWebhookSignatureError):
        CLIENT.webhooks.unwrap(body, headers, secret=secret_text(secret))


@pytest.mark.parametrize("late", [TOLERANCE * 2, -TOLERANCE * 2])
def test_a_replayed_webhook_or_one_of_a_wrong_clock_is_not_believed(late: timedelta) -> None:
    secret = make_secret()
    body, headers = signed([secret], late)
    with pytest.raises(InvalidWebhookSignatureError, match="too"):
        CLIENT.webhooks.unwrap(body, headers, secret=secret_text(secret))


@pytest.mark.parametrize("late", [TOLERANCE / 2, -TOLERANCE / 2])
def test_a_clock_that_is_a_little_wrong_does_no_harm(late: timedelta) -> None:
    secret = make_secret()
    body, headers = signed([secret], late)
    CLIENT.webhooks.unwrap(body, headers, secret=secret_text(secret))


def test_a_hint_tells_little() -> None:
    secret = make_secret()
    assert hint_of(secret) == f"whsec_…{secret_text(secret)[-5:-1]}"
