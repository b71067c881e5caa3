"""The gateway as an ASGI app: the route table, the error table, and the layers around them.

Before a request comes here, `hot` answers at once what it can. From the outside in: `DoorwayASGI` (other replicas),
`TracedASGI` (one span, from the caller's `traceparent`), `Access` (request id, headers, metrics, log line),
`UnforeseenASGI`, the errors as answers, and in front of each operation its `Guard` (who asks, may they, have they some
left). What the handlers share is made when the app starts, since the session to the stages needs a running event loop.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bowerbird.errors import BowerbirdError
from bowerbird.gateway.access import Access
from bowerbird.gateway.api.arrival import gateway_of
from bowerbird.gateway.api.docs import docs
from bowerbird.gateway.api.guard import Guard, limit_headers
from bowerbird.gateway.api.openapi import openapi_json
from bowerbird.gateway.api.operation import Operation
from bowerbird.gateway.api.operations import OPERATIONS
from bowerbird.gateway.api.rate_limit import TOO_MANY, rate_limit
from bowerbird.gateway.hang_up import ClientGone
from bowerbird.gateway.hot.front import FRONT, Front
from bowerbird.gateway.metrics import Metrics
from bowerbird.gateway.opening import open_gateway, running
from bowerbird.gateway.replicas.doorway import DoorwayASGI
from bowerbird.gateway.replicas.link import path_of
from bowerbird.gateway.species.opening import SpeciesFiles, open_species
from bowerbird.settings import Settings
from bowerbird.telemetry import TracedASGI, set_up_telemetry
from bowerbird.worker import UnforeseenASGI, error_handlers, error_response

UNKNOWN = 401
HOT_PATHS = ("/v1/jobs/{job}", "/v1/images/generations")
"""Asked thousands of times as often as the others: they are looked at first, since each look takes as long as a tenth
of such a request."""


def create_app(settings: Settings) -> Starlette:
    """The app of one gateway process."""
    set_up_telemetry("gateway")
    metrics = Metrics()
    species = open_species(settings)
    documents = [Route("/openapi.json", openapi_json), Route("/docs", docs)]
    app = Starlette(
        routes=[*map(_route, sorted(OPERATIONS, key=lambda each: each.path not in HOT_PATHS)), *documents],
        lifespan=partial(_serving, settings=settings, metrics=metrics, species=species),
        middleware=[
            Middleware(DoorwayASGI),
            Middleware(TracedASGI),
            Middleware(Access, metrics=metrics),
            Middleware(UnforeseenASGI),
        ],
        exception_handlers={**error_handlers(), BowerbirdError: _answer, ClientGone: _answer_nobody},
    )
    app.router.redirect_slashes = False  # a path is what it is; a redirected POST would lose its body
    return app


@asynccontextmanager
async def _serving(
    app: Starlette, settings: Settings, metrics: Metrics, species: SpeciesFiles
) -> AsyncIterator[Mapping[str, Front]]:
    """What the handlers share, from before the first request until after the last.

    What it yields is the lifespan's state, which the server gives to its connections (`hot.protocol`).
    """
    async with open_gateway(settings, metrics, species) as gateway:
        app.state.gateway = gateway
        app.state.elections = {path_of(each.queue): each for each in gateway.elections}
        async with running(gateway):
            yield {FRONT: Front(gateway)}


def _route(operation: Operation) -> Route:
    """The operation behind its door; only what says that it needs no key has none."""
    guards: list[Middleware] = []
    if operation.scope is not None:
        query, takes_key = operation.query, operation.takes_key
        guards.append(Middleware(Guard, needed=operation.scope, query=query, takes_key=takes_key))
    return Route(operation.path, operation.handler, methods=[operation.method], middleware=guards)


async def _answer(request: Request, error: Exception) -> Response:
    assert isinstance(error, BowerbirdError)  # noqa: S101 - the table above says so; for the type checker
    request.state.error_code = error.code
    response = error_response(error)
    if error.status == UNKNOWN:
        response.headers["WWW-Authenticate"] = "Bearer"
    if error.status == TOO_MANY:
        gateway_of(request).metrics.refused(error.code)
        response.headers.update(rate_limit(request))
    response.raw_headers.extend(limit_headers(request))
    return response


async def _answer_nobody(request: Request, _: Exception) -> Response:
    request.state.error_code = "client_gone"
    return Response(status_code=ClientGone.status)
