"""Probes and metrics: `/livez`, `/readyz`, `/metrics`. They need no key and are not logged."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from starlette.requests import Request
from starlette.responses import Response

from bowerbird.gateway.api.arrival import gateway_of
from bowerbird.gateway.api.body import ResponseBody
from bowerbird.gateway.stages import StageState


class Liveness(ResponseBody):
    """The process answers."""

    status: Literal["alive"] = "alive"


class StageReadiness(ResponseBody):
    """One stage, as the gateway last saw it."""

    name: str
    state: StageState
    since: datetime


class Readiness(ResponseBody):
    """The gateway can hold a request; whether it can be drawn now is in `stages`."""

    status: Literal["ready"] = "ready"
    stages: list[StageReadiness]


async def livez(_: Request) -> Response:
    """200 as long as the event loop turns."""
    return Response(Liveness().model_dump_json(), media_type="application/json")


async def readyz(request: Request) -> Response:
    """200 whenever the gateway can hold a request, also while stages start."""
    statuses = gateway_of(request).stages.statuses
    body = Readiness(
        stages=[StageReadiness(name=name, state=each.state, since=each.since) for name, each in statuses.items()]
    )
    return Response(body.model_dump_json(), media_type="application/json")


async def metrics(request: Request) -> Response:
    """Prometheus' text format, or OpenMetrics with exemplars where the scraper accepts it."""
    text, media_type = gateway_of(request).metrics.exposition(request.headers.get("accept", ""))
    return Response(text, headers={"Content-Type": media_type})
