"""The gateway as an ASGI app: the route table, the error table, and the layers around them.

In front of everything `hot.front` answers at once what it can. From the outside in: `DoorwayASGI` (other replicas),
`TracedASGI` (one span, from the caller's `traceparent`), `Access` (request id, headers, metrics, log line),
`UnforeseenASGI`, the errors as answers, and in front of each operation its `Guard` (who asks, may they, have they some
left). What the handlers share is made when the app starts, since the session to the stages needs a running event loop.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from functools import partial

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bowerbird.errors import BowerbirdError
from bowerbird.gateway.access import Access
from bowerbird.gateway.api.arrival import gateway_of
from bowerbird.gateway.api.batch_answering import LineAnswerer
from bowerbird.gateway.api.docs import docs
from bowerbird.gateway.api.guard import Guard, limit_headers
from bowerbird.gateway.api.job_drawing import draw_job
from bowerbird.gateway.api.openapi import openapi_json
from bowerbird.gateway.api.operation import Operation
from bowerbird.gateway.api.operations import OPERATIONS
from bowerbird.gateway.api.rate_limit import TOO_MANY, rate_limit
from bowerbird.gateway.batches.room import BatchRoom
from bowerbird.gateway.clips.endpoints import Animators
from bowerbird.gateway.connections import open_connections
from bowerbird.gateway.credentials import following
from bowerbird.gateway.demand.opening import DemandRoom
from bowerbird.gateway.demand.opening import running as demand_told
from bowerbird.gateway.discovery.opening import discovering
from bowerbird.gateway.feedback.opening import open_feedback
from bowerbird.gateway.files.room import FileRoom
from bowerbird.gateway.gateway import Gateway
from bowerbird.gateway.hang_up import ClientGone
from bowerbird.gateway.hot.front import FrontedApp
from bowerbird.gateway.hot.hits import Hits
from bowerbird.gateway.hot.statuses import Statuses
from bowerbird.gateway.identity.configured import ConfiguredKeys
from bowerbird.gateway.identity.opening import Identities, open_identities
from bowerbird.gateway.in_flight import InFlight
from bowerbird.gateway.jobs.room import JobRoom
from bowerbird.gateway.limits.opening import open_limits
from bowerbird.gateway.metrics import Metrics
from bowerbird.gateway.records.opening import open_records
from bowerbird.gateway.replicas.doorway import DoorwayASGI
from bowerbird.gateway.replicas.opening import open_order
from bowerbird.gateway.results.opening import open_results
from bowerbird.gateway.rights.opening import Rooms, open_rights
from bowerbird.gateway.species.opening import SpeciesFiles, open_species
from bowerbird.gateway.stages import Stages
from bowerbird.gateway.upstream import Stage, Upstream, open_session, stage_urls
from bowerbird.gateway.webhooks.opening import Webhooks, open_webhooks
from bowerbird.gateway.webhooks.sealing import read_keys
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
    app = FrontedApp(
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
async def _serving(app: Starlette, settings: Settings, metrics: Metrics, species: SpeciesFiles) -> AsyncIterator[None]:
    """All rooms of one gateway process, opened, and what goes on in them by itself; closed in the opposite order."""
    urls = stage_urls(settings)
    async with (
        open_session() as session,
        open_connections() as connections,
        open_records(settings, metrics.registry) as records,
        open_results(settings, records, metrics.registry) as results,
        open_identities(settings, records) as identities,
        open_limits(settings, records, metrics.registry) as limits,
        open_webhooks(settings, records, metrics.registry) as webhooks,
        AsyncExitStack() as opened,
    ):
        admission, election = await open_order(settings, records, session, metrics.registry)
        metrics.watch(admission)
        stages = Stages(session, urls, settings.stage_poll_seconds, admission, settings.stages_asleep)
        in_flight = InFlight()
        demand = DemandRoom.of(stages, admission, in_flight, settings)
        animators = Animators(session, stages.urls[Stage.ANIMATION], demand.waking, settings)
        jobs = JobRoom.of(records, settings, lambda *claimed: draw_job(app.state.gateway, *claimed), metrics.registry)
        files = FileRoom.of(records, settings)
        trade = partial(LineAnswerer, lambda: app.state.gateway)
        batches = BatchRoom.of(records, files, settings, lambda told: trade(told).trade, metrics.registry)
        rooms = Rooms(records, jobs, results, files, batches)
        app.state.gateway = Gateway(
            settings=settings,
            identity=identities.identity,
            administration=identities.administration,
            limits=limits,
            metrics=metrics,
            upstream=Upstream(connections, stages.urls, demand.waking.until_one_is_awake, in_flight),
            stages=stages,
            admission=admission,
            animators=animators,
            demand=demand,
            records=records,
            results=results,
            hits=Hits(results, stages),
            statuses=Statuses(records.database),
            jobs=jobs,
            files=files,
            batches=batches,
            feedback=await open_feedback(records),
            rights=await opened.enter_async_context(open_rights(rooms, metrics.registry)),
            species=species,
            webhooks=webhooks,
            election=election,
        )
        app.state.election = election
        elected = election.running() if election else nullcontext()
        carried = jobs.running(lambda: stages.chain_may_come)
        async with (
            discovering(settings, stages, urls) as discovery,
            stages.watched(),
            animators.watched(),
            demand_told(demand, discovery, records, settings, metrics.registry),
            elected,
            carried,
            files.running(),
            batches.running(),
            following(settings, partial(_take_over_keys, identities, webhooks)),
        ):
            yield


def _take_over_keys(identities: Identities, webhooks: Webhooks | None, settings: Settings) -> None:
    """Credentials were replaced while this process runs (`credentials`)."""
    identities.identity.configure(ConfiguredKeys.of_settings(settings, identities.administration.tiers))
    if webhooks is not None and settings.webhook_keys:
        webhooks.sealer.replace_keys(read_keys(settings.webhook_keys))


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
