"""Opens all rooms of one gateway process, and keeps going what goes on in them by itself.

Called by `app` when it starts; what was opened is closed in the opposite order.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from bowerbird.gateway.api.batch_answering import LineAnswerer
from bowerbird.gateway.api.job_drawing import CHAINS, draw_job
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
from bowerbird.gateway.hot.hits import Hits
from bowerbird.gateway.hot.statuses import Statuses
from bowerbird.gateway.identity.configured import ConfiguredKeys
from bowerbird.gateway.identity.opening import open_identities
from bowerbird.gateway.in_flight import InFlight
from bowerbird.gateway.jobs.room import JobRoom
from bowerbird.gateway.limits.opening import open_limits
from bowerbird.gateway.metrics import Metrics
from bowerbird.gateway.records.opening import open_records
from bowerbird.gateway.replicas.election import Election
from bowerbird.gateway.replicas.link import CLIPS
from bowerbird.gateway.replicas.opening import open_order
from bowerbird.gateway.results.opening import open_results
from bowerbird.gateway.rights.opening import Rooms, open_rights
from bowerbird.gateway.species.opening import SpeciesFiles
from bowerbird.gateway.stages import Stages
from bowerbird.gateway.upstream import Stage, Upstream, open_session, stage_urls
from bowerbird.gateway.webhooks.opening import open_webhooks
from bowerbird.gateway.webhooks.sealing import read_keys
from bowerbird.settings import Settings
from bowerbird.tls import connecting_of


@asynccontextmanager
async def open_gateway(settings: Settings, metrics: Metrics, species: SpeciesFiles) -> AsyncIterator[Gateway]:
    """What the handlers share."""
    tls, registry = connecting_of(settings), metrics.registry
    async with (
        open_session(tls) as session,
        open_connections(tls) as connections,
        open_records(settings, registry) as records,
        open_results(settings, records, registry) as results,
        open_identities(settings, records) as identities,
        open_limits(settings, records, registry) as limits,
        open_webhooks(settings, records, registry) as webhooks,
        AsyncExitStack() as opened,
    ):
        admission, election = await open_order(settings, records, session, registry)
        clip_admission, clip_election = await open_order(settings, records, session, registry, CLIPS)
        metrics.watch(admission)
        stages = Stages(session, stage_urls(settings), settings.stage_poll_seconds, admission, settings.stages_asleep)
        in_flight = InFlight()
        queues = {Stage.TEXT_TO_IMAGE: admission, Stage.ANIMATION: clip_admission}
        demand = DemandRoom.of(stages, queues, in_flight, settings)
        animation = stages.urls[Stage.ANIMATION]
        animators = Animators(session, animation, clip_admission, demand.waking, settings.stage_poll_seconds)
        gateway: Gateway
        jobs = JobRoom.of(records, settings, lambda *claimed: draw_job(gateway, *claimed), registry)
        files = FileRoom.of(records, settings)
        trade = partial(LineAnswerer, lambda: gateway)
        batches = BatchRoom.of(records, files, settings, lambda told: trade(told).trade, registry)
        gateway = Gateway(
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
            statuses=Statuses(records.database, jobs.carrier.progress),
            jobs=jobs,
            files=files,
            batches=batches,
            feedback=await open_feedback(records),
            rights=await opened.enter_async_context(
                open_rights(Rooms(records, jobs, results, files, batches), registry)
            ),
            species=species,
            webhooks=webhooks,
            election=election,
            clip_election=clip_election,
        )
        yield gateway


@asynccontextmanager
async def running(gateway: Gateway) -> AsyncIterator[None]:
    """What goes on by itself, until the context ends: looking at stages, carrying what was accepted, sweeping."""
    settings, stages, registry = gateway.settings, gateway.stages, gateway.metrics.registry
    async with (
        discovering(settings, stages, stage_urls(settings)) as discovery,
        stages.watched(),
        gateway.animators.watched(),
        demand_told(gateway.demand, discovery, gateway.records, settings, registry),
        _taking_part(gateway.elections),
        gateway.jobs.running(lambda kind: stages.may_come(CHAINS[kind])),
        gateway.files.running(),
        gateway.batches.running(),
        following(settings, partial(_take_over_keys, gateway)),
    ):
        yield


@asynccontextmanager
async def _taking_part(elections: Iterable[Election]) -> AsyncIterator[None]:
    """In all of them, until the context ends."""
    async with AsyncExitStack() as running:
        for election in elections:
            await running.enter_async_context(election.running())
        yield


def _take_over_keys(gateway: Gateway, settings: Settings) -> None:
    """Credentials were replaced while this process runs (`credentials`)."""
    gateway.identity.configure(ConfiguredKeys.of_settings(settings, gateway.administration.tiers))
    if gateway.webhooks is not None and settings.webhook_keys:
        gateway.webhooks.sealer.replace_keys(read_keys(settings.webhook_keys))
