"""All of this room in one value, opened when the app starts; what needs a cluster is there only in one."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry

from bowerbird.gateway.admission.admission import Admission
from bowerbird.gateway.demand.climb import Climbs
from bowerbird.gateway.demand.deletion_cost import DeletionCosts
from bowerbird.gateway.demand.descriptions import KeptDescriptions
from bowerbird.gateway.demand.level import Demand
from bowerbird.gateway.demand.rows import DemandRows
from bowerbird.gateway.demand.sharing import Floors, Sharing
from bowerbird.gateway.demand.waking import Waking
from bowerbird.gateway.discovery.discovery import Discovery
from bowerbird.gateway.in_flight import InFlight
from bowerbird.gateway.records.listening import Listener
from bowerbird.gateway.records.opening import Records
from bowerbird.gateway.stages import Stages
from bowerbird.gateway.upstream import Stage
from bowerbird.settings import Settings
from bowerbird.tls import Files, accepting

if TYPE_CHECKING:
    from bowerbird.gateway.demand.scaler import Scaler


@dataclass(slots=True)
class DemandRoom:
    """What requests want, how they wait for it, and who else is told."""

    stages: Stages
    admissions: Mapping[Stage, Admission]
    """The queues of the stages that have slots."""
    demand: Demand
    waking: Waking
    sharing: Sharing | None = None
    """What all replicas want; None where nothing is scaled by it."""
    scaler: Scaler | None = None
    """KEDA's; None where no port is set."""

    @classmethod
    def of(
        cls, stages: Stages, admissions: Mapping[Stage, Admission], in_flight: InFlight, settings: Settings
    ) -> DemandRoom:
        """A room that nothing happens in before `running`."""
        demand = Demand(admissions, in_flight)
        return cls(stages, admissions, demand, Waking(stages, demand, settings))

    def is_needed(self, stage: Stage) -> bool:
        """Whether a stage without pods is to have one: somebody here waits for it, or pods are wanted in any case."""
        return self.demand.is_raised(stage) or (self.sharing is not None and self.sharing.wants_pods(stage))

    def stop(self, seconds: float) -> None:
        """This process ends in so many seconds: who waits for what sleeps goes to another in time.

        KEDA's streams are told to the end: it would open them here again, on the connection that it has.
        """
        self.waking.stop(seconds)


@asynccontextmanager
async def running(
    room: DemandRoom,
    discovery: Discovery | None,
    records: Records,
    settings: Settings,
    registry: CollectorRegistry,
) -> AsyncIterator[None]:
    """Shares, tells KEDA and looks at what wakes, as far as the settings want it, until the context ends."""
    stages = room.stages
    async with AsyncExitStack() as stack:
        costs = [] if discovery is None else _deletion_costs(discovery, room.admissions)
        for each in costs:
            await stack.enter_async_context(each.running())
        if settings.stages_asleep:
            await _remember(stages, records)
        if settings.stages_asleep or settings.scaler_port is not None:
            variants = {stage: stage.value for stage in Stage} if discovery is None else discovery.services
            rows = DemandRows(records.database, records.owner)
            listener = None
            if records.database.is_postgresql:
                listener = Listener(records.login)
            room.sharing = Sharing(room.demand, rows, variants, _floors(settings, variants), listener)
            room.sharing.may_fall = lambda: all(each.settled for each in costs)
            await stack.enter_async_context(room.sharing.running())
        if discovery is not None and settings.stages_asleep:
            climbs = Climbs(discovery.server, stages, room.is_needed, discovery.services, registry)
            room.waking.progress, room.waking.on_first_step = climbs.progress, climbs.first_step
            await stack.enter_async_context(climbs.running())
        if room.sharing is not None and settings.scaler_port is not None:
            await stack.enter_async_context(_scaling(room, room.sharing, settings))
        yield


@asynccontextmanager
async def _scaling(room: DemandRoom, sharing: Sharing, settings: Settings) -> AsyncIterator[None]:
    from bowerbird.gateway.demand.scaler import Scaler, listening, serving

    stages = room.stages
    of_variant: Mapping[str, Stage] = {variant: stage for stage, variant in sharing.variants.items()}

    def slots(variant: str) -> int | None:
        stage = of_variant[variant]
        if stage is Stage.TEXT_TO_IMAGE and stages.knows_model:
            return stages.model().slots
        admission = room.admissions.get(stage)
        return None if admission is None else admission.slots_of_one

    room.scaler = Scaler(sharing, lambda variant: stages.has_endpoint(of_variant[variant]), slots)
    listener = listening(settings.host, settings.scaler_port or 0)
    async with serving(room.scaler, listener, _tls(settings)):
        yield


def _deletion_costs(discovery: Discovery, admissions: Mapping[Stage, Admission]) -> list[DeletionCosts]:
    """Of every stage that has slots and pods: what it computes takes long enough to be cut off."""

    def of(stage: Stage, admission: Admission) -> DeletionCosts:
        return DeletionCosts(discovery.server, lambda: discovery.found[stage], lambda: admission.in_flight)

    return [of(stage, admission) for stage, admission in admissions.items() if stage in discovery.services]


def _floors(settings: Settings, variants: Mapping[Stage, str]) -> Floors:
    named = {*settings.demand_floors, *(each.service for each in settings.demand_schedules)}
    if unknown := sorted(named - set(variants.values())):
        known = ", ".join(sorted(variants.values()))
        raise SystemExit(f"BOWERBIRD_DEMAND_FLOORS, _SCHEDULES: {unknown[0]!r} is no service here. Accepted: {known}.")
    if not settings.demand_schedules:
        return lambda: settings.demand_floors
    from bowerbird.gateway.demand.schedules import Schedules

    return Schedules(settings.demand_floors, settings.demand_schedules).floors


def _tls(settings: Settings) -> ssl.SSLContext | None:
    files = settings.scaler_certificate, settings.scaler_key, settings.scaler_client_ca
    certificate, key, client_ca = files
    if certificate and key and client_ca:
        return accepting(Files(certificate, key, client_ca), protocols=["h2"])
    if any(files):
        raise SystemExit("BOWERBIRD_SCALER_CERTIFICATE, _KEY and _CLIENT_CA: name all three, or none.")
    return None


async def _remember(stages: Stages, records: Records) -> None:
    """What text-to-image said last, before it sleeps; what it says from now on is kept."""
    descriptions = KeptDescriptions(records.database)
    stages.on_model = descriptions.keep
    if stages.knows_model:
        descriptions.keep(stages.model())
    elif (model := await descriptions.model()) is not None:
        stages.remember(model)
