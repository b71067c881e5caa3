"""Secrets of endpoints, and the signature by which a receiver knows that we sent what it got (Standard Webhooks 1.0).

Signed are the event's id, the time of the attempt and the body: who alters any of them, or sends an old attempt again
after the receiver's tolerance (five minutes in OpenAI's client), is found out. While a secret is being replaced, both
sign, with a space between the signatures: a receiver accepts what either verifies.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import secrets as random
from collections.abc import Sequence
from datetime import datetime

from standardwebhooks import Webhook

from bowerbird.gateway.webhooks.events import Event

MARK = "whsec_"
SECRET_BYTES = 32
"""The specification accepts 24 to 64."""
HINT_CHARACTERS = 4


def make_secret() -> bytes:
    """A new random secret."""
    return random.token_bytes(SECRET_BYTES)


def secret_text(secret: bytes) -> str:
    """The secret as its endpoint's tenant is shown it, once."""
    return MARK + base64.b64encode(secret).decode("ascii")


def hint_of(secret: bytes) -> str:
    """What tells secrets apart: the last characters, four of which are 24 of 256 bits."""
    return f"{MARK}…{secret_text(secret).rstrip('=')[-HINT_CHARACTERS:]}"


def signed_headers(event: Event, at: datetime, secrets: Sequence[bytes]) -> dict[str, str]:
    """The headers of one attempt at `at` (UTC)."""
    body = event.body.decode()
    return {
        "webhook-id": event.id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": " ".join(Webhook(secret).sign(event.id, at, body) for secret in secrets),
    }
