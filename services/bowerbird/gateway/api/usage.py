"""`GET /v1/usage`: what was drawn for the caller's tenant, by day, model and variant, as JSON or as CSV (RFC 4180)."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any, Literal

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from bowerbird.contracts import Digest
from bowerbird.errors import RequestInvalid
from bowerbird.gateway.api.arrival import gateway_of, principal_of
from bowerbird.gateway.api.body import ResponseBody, shown_value

CSV = "text/csv"
COLUMNS = ("day", "model_digest", "variant", "requests", "compute_units", "pixels", "pictures")
DAY_SECONDS = 86_400
DEFAULT_DAYS = 30
MAX_DAYS = 366
DAYS: Mapping[str, Mapping[str, Any]] = {
    "first_day": {
        "type": "string",
        "format": "date",
        "description": "UTC; 29 days before `last_day` if absent.",
    },
    "last_day": {"type": "string", "format": "date", "description": "UTC; today if absent."},
    "format": {
        "type": "string",
        "enum": ["json", "csv"],
        "description": "csv if absent and `Accept` names text/csv and not application/json; else json.",
    },
}
"""Query parameters of usage -> their schema."""


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
    """The caller's usage."""
    return await usage_response(request, principal_of(request).tenant)


async def usage_response(request: Request, tenant: str) -> Response:
    """A tenant's usage of `first_day` to `last_day`, both included; of the last 30 days when absent."""
    gateway, as_csv = gateway_of(request), _wants_csv(request)
    today = int(time.time()) // DAY_SECONDS
    last = _day(request, "last_day", today)
    first = _day(request, "first_day", last - DEFAULT_DAYS + 1)
    if not 0 <= last - first < MAX_DAYS:
        raise RequestInvalid(
            f"first_day must not be after last_day, and at most {MAX_DAYS - 1} days before it.", param="first_day"
        )
    days = await gateway.records.usage.read(tenant, first, last)
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
    if as_csv:
        return _table(body)
    return Response(body.model_dump_json(), 200, {"Vary": "Accept"}, "application/json")


def _wants_csv(request: Request) -> bool:
    stated = request.query_params.get("format")
    if stated is None:
        named = {each.partition(";")[0].strip() for each in request.headers.get("accept", "").lower().split(",")}
        return CSV in named and "application/json" not in named
    if stated not in ("json", "csv"):
        raise RequestInvalid(f"format: {shown_value(stated)} is not accepted. Accepted: json, csv.", param="format")
    return stated == "csv"


def _table(usage: UsageList) -> Response:
    """A line of names, then one for each day, model and variant."""
    written = io.StringIO()
    table = csv.DictWriter(written, COLUMNS, extrasaction="ignore")
    table.writeheader()
    table.writerows(each.model_dump() for each in usage.data)
    name = f"usage_{usage.first_day}_{usage.last_day}.csv"
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Vary": "Accept"}
    return Response(written.getvalue(), 200, headers, f"{CSV}; header=present")


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
