"""Probes and metrics: `/livez`, `/readyz`, `/metrics`. They need no key and are not logged."""

from __future__ import annotations

from datetime import datetime
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from bowerbird.gateway.api.arrival import gateway_of
from bowerbird.gateway.api.body import ResponseBody
from bowerbird.gateway.replicas.election import Role
from bowerbird.gateway.stages import Stages, StageState
from bowerbird.gateway.upstream import Stage


class Liveness(ResponseBody):
    """The process answers."""

    status: Literal["alive"] = "alive"


class EndpointLeftOut(ResponseBody):
    """An endpoint that is ready and given nothing."""

    endpoint: str = Field(description="Host and port.")
    reason: str


class StageReadiness(ResponseBody):
    """One stage, as the gateway last saw it."""

    name: str
    state: StageState
    since: datetime
    left_out: list[EndpointLeftOut] = Field(description="Endpoints that are ready and given nothing, and why.")


class Readiness(ResponseBody):
    """The gateway can hold a request; whether it can be drawn now is in `stages`."""

    status: Literal["ready"] = "ready"
    queue: Role = Field(
        description="owner: keeps the order for all replicas; follower: asks the owner; seeking: nobody owns it now, "
        "who waits goes on waiting; alone: keeps its own."
    )
    stages: list[StageReadiness]


async def livez(_: Request) -> Response:
    """200 as long as the event loop turns."""
    return Response(Liveness().model_dump_json(), media_type="application/json")


async def readyz(request: Request) -> Response:
    """200 whenever the gateway can hold a request, also while stages start."""
    gateway = gateway_of(request)
    stages, election = gateway.stages, gateway.election
    body = Readiness(
        queue=election.role if election else Role.ALONE,
        stages=[
            StageReadiness(name=name, state=each.state, since=each.since, left_out=_left_out(stages, name))
            for name, each in stages.statuses.items()
        ],
    )
    return Response(body.model_dump_json(), media_type="application/json")


def _left_out(stages: Stages, stage: Stage) -> list[EndpointLeftOut]:
    if stage is not Stage.TEXT_TO_IMAGE:
        return []
    return [
        EndpointLeftOut(endpoint=urlsplit(url).netloc.rpartition("@")[2], reason=reason)
        for url, reason in stages.left_out.items()
    ]


async def metrics(request: Request) -> Response:
    """Prometheus' text format, or OpenMetrics with exemplars where the scraper accepts it."""
    text, media_type = gateway_of(request).metrics.exposition(request.headers.get("accept", ""))
    return Response(text, headers={"Content-Type": media_type})
