"""The gateway as an ASGI app: the route table, the error table, and the layers around them.

From the outside in: `TracedASGI` (one span, from the caller's `traceparent`), `Access` (request id, headers, metrics,
log line), `UnforeseenASGI`, the errors as answers. What the handlers share is made when the app starts, since the
session to the stages needs a running event loop.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bowerbird import __version__
from bowerbird.errors import BowerbirdError
from bowerbird.gateway.access import Access
from bowerbird.gateway.admission.admission import Admission
from bowerbird.gateway.admission.bounds import Bounds
from bowerbird.gateway.admission.endpoints import Pauses
from bowerbird.gateway.admission.order import Order
from bowerbird.gateway.api.arrival import gateway_of
from bowerbird.gateway.api.docs import docs
from bowerbird.gateway.api.job_drawing import draw_job
from bowerbird.gateway.api.openapi import openapi_json
from bowerbird.gateway.api.operations import OPERATIONS
from bowerbird.gateway.api.rate_limit import TOO_MANY, rate_limit
from bowerbird.gateway.gateway import Gateway
from bowerbird.gateway.hang_up import ClientGone
from bowerbird.gateway.identity import Identity
from bowerbird.gateway.jobs.room import JobRoom
from bowerbird.gateway.metrics import Metrics
from bowerbird.gateway.records.opening import open_records
from bowerbird.gateway.results.opening import open_results
from bowerbird.gateway.stages import Stages
from bowerbird.gateway.upstream import Upstream, open_session, stage_urls
from bowerbird.settings import Settings
from bowerbird.telemetry import TracedASGI, set_up_telemetry
from bowerbird.worker import SignedASGI, UnforeseenASGI, error_handlers, error_response


def create_app(settings: Settings) -> Starlette:
    """The app of one gateway process."""
    set_up_telemetry("gateway")
    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        urls = stage_urls(settings)
        async with (
            open_session() as session,
            open_records(settings) as records,
            open_results(settings, records, metrics.registry) as results,
        ):
            admission = open_admission(settings)
            metrics.watch(admission)
            stages = Stages(session, urls, settings.stage_poll_seconds, admission)
            identity = Identity.of_keys(settings.api_keys)
            jobs = JobRoom.of(records, settings, lambda *claimed: draw_job(app.state.gateway, *claimed))
            app.state.gateway = Gateway(
                settings, identity, metrics, Upstream(session, urls), stages, admission, records, results, jobs
            )
            async with stages.watched(), jobs.running():
                yield

    documents = [Route("/openapi.json", openapi_json), Route("/docs", docs)]
    app = Starlette(
        routes=[*(Route(each.path, each.handler, methods=[each.method]) for each in OPERATIONS), *documents],
        lifespan=lifespan,
        middleware=[
            Middleware(TracedASGI),
            Middleware(SignedASGI, name=f"gateway/{__version__}"),
            Middleware(Access, metrics=metrics),
            Middleware(UnforeseenASGI),
        ],
        exception_handlers={**error_handlers(), BowerbirdError: _answer, ClientGone: _answer_nobody},
    )
    app.router.redirect_slashes = False  # a path is what it is; a redirected POST would lose its body
    return app


def open_admission(settings: Settings) -> Admission:
    """The queue before text-to-image, within what the settings allow."""
    bounds = Bounds(settings.queue_requests, settings.queue_units, settings.queue_bytes, settings.queue_tenant_part)
    # A pause shorter than the time between two looks would end unseen.
    return Admission(Order(bounds, Pauses(settings.stage_poll_seconds, 30 * settings.stage_poll_seconds)))


async def _answer(request: Request, error: Exception) -> Response:
    assert isinstance(error, BowerbirdError)  # noqa: S101 - the table above says so; for the type checker
    request.state.error_code = error.code
    response = error_response(error)
    if error.status == TOO_MANY:
        gateway_of(request).metrics.refused(error.code)
        response.headers.update(rate_limit(request))
    return response


async def _answer_nobody(request: Request, _: Exception) -> Response:
    request.state.error_code = "client_gone"
    return Response(status_code=ClientGone.status)
