"""`/v1/feedback` and `/v1/usage`: what people thought of pictures, and what was drawn."""

from __future__ import annotations

from datetime import date
from typing import TypedDict

from bowerbird.client.calls import Call, Page, Value, get, keyed, next_cursor, page_of, value_of

FEEDBACK = "/v1/feedback"


class FeedbackOptions(TypedDict, total=False):
    """What may be said beside what somebody did; the gateway says what belongs together."""

    image: int
    """Which picture of the answer, from 0; left out, the answer as a whole."""
    stars: int
    """1 to 5, with the kind `stars`."""
    tags: list[str]
    text: str
    safety_identifier: str


class Feedback(Value):
    """Feedback as it is kept."""

    id: str
    request_id: str
    kind: str
    image: int | None
    stars: int | None
    reward: float | None
    """-1 to 1."""
    created_at: int
    """Unix seconds."""


class UsageOfDay(Value):
    """What was drawn on one day (UTC) with one model and variant."""

    day: date
    model_digest: str
    variant: str
    requests: int
    compute_units: float
    pixels: int
    pictures: int


class Usage(Value):
    """The days with any use, oldest first."""

    data: list[UsageOfDay]
    first_day: date
    last_day: date


def give_feedback(request_id: str, kind: str, options: FeedbackOptions) -> Call[Feedback]:
    """`POST /v1/feedback` on a request's or a job's pictures; `kind` is stars, chosen, like, favourite, share, …"""
    body = {"request_id": request_id, "kind": kind, **options}
    return keyed(Call("POST", FEEDBACK, value_of(Feedback), json=body))


def list_feedback(
    limit: int | None = None, after: str | None = None, request_id: str | None = None
) -> Call[Page[Feedback]]:
    """`GET /v1/feedback`, newest first."""
    return get(FEEDBACK, page_of(Feedback, next_cursor), limit=limit, after=after, request_id=request_id)


def get_usage(first_day: date | None = None, last_day: date | None = None) -> Call[Usage]:
    """`GET /v1/usage`, of the last 30 days where nothing is stated."""
    return get("/v1/usage", value_of(Usage), first_day=first_day, last_day=last_day)
