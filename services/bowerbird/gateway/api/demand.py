"""`/v1/admin/demand`: who wants pods of which service, and more of them for a while.

Before a launch whoever keeps a deployment running has pods made that nobody needs yet. What is asked for is a row of
demand like all others (`demand/rows.py`): an autoscaler is told one number, and a gateway that restarts forgets
nothing. It costs what pods cost, so that it stands in the audit log.
"""

from __future__ import annotations

import math
import time
from typing import Literal

from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.requests import Request
from starlette.responses import Response

from bowerbird.errors import FeatureUnavailable, RequestInvalid
from bowerbird.gateway.api.admin_tenants import author_of
from bowerbird.gateway.api.arrival import gateway_of
from bowerbird.gateway.api.body import RequestBody, ResponseBody, read_json
from bowerbird.gateway.demand.rows import PREWARMED, Row

MOST_PODS = 1000
LONGEST_SECONDS = 7 * 86_400
MOST_REQUESTS = 2**31 - 1

SERVICE = "Its name in the chart, which is its Deployment's."
WAITING = "Requests that wait for it."


class Prewarm(RequestBody):
    """Pods that are wanted whatever the work, in place of what was asked for before."""

    service: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$", description=SERVICE, examples=["text-to-image"])
    pods: int = Field(ge=0, le=MOST_PODS, description="Pods, at least; 0 takes back what was asked for.", examples=[1])
    seconds: int = Field(
        ge=1, le=LONGEST_SECONDS, description="Seconds, from now; then what is needed decides again.", examples=[3600]
    )


class ServiceDemand(ResponseBody):
    """What one source wants of one service."""

    object: Literal["demand"] = "demand"
    service: str = Field(description=SERVICE, examples=["text-to-image"])
    source: Literal["gateway", "prewarm"] = Field(
        description="gateway: one replica's requests, and what its settings want now; prewarm: what was asked for.",
        examples=["prewarm"],
    )
    queued: int = Field(ge=0, le=MOST_REQUESTS, description=WAITING, examples=[0])
    running: int = Field(ge=0, le=MOST_REQUESTS, description="Requests that it computes.", examples=[0])
    draining: int = Field(ge=0, le=MOST_REQUESTS, description="Requests on pods that are about to end.", examples=[0])
    pods: int = Field(ge=0, le=MOST_PODS, description="Pods that are wanted whatever the work.", examples=[1])
    expires_at: int | None = Field(
        description="Unix seconds at which it is forgotten; null where a gateway renews it as long as it is so."
    )


class DemandList(ResponseBody):
    """All that is wanted now, by service and source; empty where nothing is, or no service is scaled by demand."""

    object: Literal["list"] = "list"
    data: list[ServiceDemand]


async def list_demand(request: Request) -> Response:
    """What every gateway and every pre-warming wants now."""
    sharing = gateway_of(request).demand.sharing
    rows = [] if sharing is None else await sharing.everything()
    wanted = sorted((row for row in rows if row.level.active), key=lambda row: (row.variant, row.source))
    return _answer(DemandList(data=[_body(row) for row in wanted]))


async def ask_for_pods(request: Request) -> Response:
    """Pods for a while; raises RequestInvalid for a service that is none here, naming those that are."""
    asked = await read_json(request, Prewarm)
    gateway = gateway_of(request)
    sharing = gateway.demand.sharing
    if sharing is None:
        raise FeatureUnavailable("No service is scaled by demand here: that takes a cluster with KEDA.")
    known = sorted(sharing.variants.values())
    if asked.service not in known:
        raise RequestInvalid(
            f"service: {asked.service!r} is none of this deployment's. Accepted: {', '.join(known)}.", param="service"
        )
    author, audit = author_of(request), gateway.administration.audit

    async def note(connection: AsyncConnection, before: int) -> None:
        after = {"pods": asked.pods, "seconds": asked.seconds}
        await audit.append(connection, author.change("demand.prewarm", asked.service, {"pods": before}, after))

    return _answer(_body(await sharing.rows.prewarm(asked.service, asked.pods, asked.seconds, note)))


def _body(row: Row) -> ServiceDemand:
    asked = row.source == PREWARMED
    return ServiceDemand(
        service=row.variant,
        source="prewarm" if asked else "gateway",
        queued=row.level.queued,
        running=row.level.running,
        draining=row.level.draining,
        pods=row.level.pods,
        expires_at=math.ceil(time.time() + row.seconds_left) if asked else None,
    )


def _answer(body: ResponseBody) -> Response:
    return Response(body.model_dump_json(), media_type="application/json")
