"""`GET /v1/usage`: what was drawn for the caller's tenant, by day, model and variant."""

from __future__ import annotations

import time
from datetime import UTC, date, datetime
from typing import Literal

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from bowerbird.contracts import Digest
from bowerbird.errors import RequestInvalid
from bowerbird.gateway.api.arrival import arrive
from bowerbird.gateway.api.body import ResponseBody, shown_value

DAY_SECONDS = 86_400
DEFAULT_DAYS = 30
MAX_DAYS = 366


class UsageOfDay(ResponseBody):
    """One day, model and variant."""

    object: Literal["usage"] = "usage"
    day: date = Field(description="UTC.")
    model_digest: Digest
    variant: str
    requests: int
    compute_units: float
    pixels: int = Field(description="Of every frame that was drawn, candidates included.")
    pictures: int = Field(description="That were delivered.")


class UsageList(ResponseBody):
    """The days with any use, oldest first."""

    object: Literal["list"] = "list"
    data: list[UsageOfDay]
    first_day: date
    last_day: date


async def get_usage(request: Request) -> Response:
    """The usage of `first_day` to `last_day`, both included; the last 30 days when absent."""
    gateway, _ = arrive(request)
    today = int(time.time()) // DAY_SECONDS
    last = _day(request, "last_day", today)
    first = _day(request, "first_day", last - DEFAULT_DAYS + 1)
    if not 0 <= last - first < MAX_DAYS:
        raise RequestInvalid(
            f"first_day must not be after last_day, and at most {MAX_DAYS - 1} days before it.", param="first_day"
        )
    days = await gateway.records.usage.read(request.state.tenant, first, last)
    data = [
        UsageOfDay(
            day=_date(each.day),
            model_digest=each.model_digest,
            variant=each.variant,
            requests=each.requests,
            compute_units=each.compute_units,
            pixels=each.pixels,
            pictures=each.pictures,
        )
        for each in days
    ]
    body = UsageList(data=data, first_day=_date(first), last_day=_date(last))
    return Response(body.model_dump_json(), media_type="application/json")


def _day(request: Request, name: str, default: int) -> int:
    stated = request.query_params.get(name)
    if stated is None:
        return default
    try:
        if len(stated) != len("2026-11-21"):
            raise ValueError
        return (date.fromisoformat(stated) - date(1970, 1, 1)).days
    except ValueError:
        raise RequestInvalid(
            f"{name}: {shown_value(stated)} is not accepted. Accepted: YYYY-MM-DD.", param=name
        ) from None


def _date(day: int) -> date:
    return datetime.fromtimestamp(day * DAY_SECONDS, UTC).date()
