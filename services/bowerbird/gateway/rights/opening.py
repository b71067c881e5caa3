"""All of this room in one value, opened when the app starts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from bowerbird.gateway.batches.room import BatchRoom
from bowerbird.gateway.files.room import FileRoom
from bowerbird.gateway.identity.audit import AuditLog
from bowerbird.gateway.jobs.room import JobRoom
from bowerbird.gateway.records.opening import Records
from bowerbird.gateway.results.results import Results
from bowerbird.gateway.rights.archive import Archive
from bowerbird.gateway.rights.carrying import ErasureCarrier
from bowerbird.gateway.rights.erasing import Erasing
from bowerbird.gateway.rights.erasures import Erasures
from bowerbird.gateway.rights.exports import Export, Exports
from bowerbird.gateway.rights.holding import Holding
from bowerbird.gateway.rights.holdings import files, rows, tenant
from bowerbird.gateway.rights.holdings.files import FileHolding
from bowerbird.gateway.rights.holdings.jobs import JobHolding
from bowerbird.gateway.rights.holdings.results import ResultHolding


@dataclass(frozen=True, slots=True)
class Rights:
    """What the API's handlers need."""

    records: Records
    holdings: Sequence[Holding]
    erasures: Erasures
    exports: Exports
    carrier: ErasureCarrier

    def archive(self, export: Export) -> Archive:
        """What an export gives."""
        return Archive(export, self.holdings, self.records.pictures)


@dataclass(frozen=True, slots=True)
class Rooms:
    """The rooms of this process that keep something, and more than rows."""

    records: Records
    jobs: JobRoom
    results: Results
    files: FileRoom
    batches: BatchRoom


@asynccontextmanager
async def open_rights(rooms: Rooms, registry: CollectorRegistry) -> AsyncIterator[Rights]:
    """Erasures that are carried until the context ends."""
    records, holdings = rooms.records, all_holdings(rooms)
    audit = AuditLog(records.database)
    erasing = Erasing(records, Erasures(records.database, audit), holdings)
    exports = Exports(records.database, audit)
    carrier = ErasureCarrier(erasing, exports, rooms.results.forget, registry)
    async with carrier.running():
        yield Rights(records, holdings, erasing.erasures, exports, carrier)


def all_holdings(rooms: Rooms) -> Sequence[Holding]:
    """Everything that is kept about anybody, in the order in which it goes."""
    records, database = rooms.records, rooms.records.database

    def stopped(job_id: str) -> None:
        rooms.jobs.carrier.stop(job_id)
        rooms.jobs.watch.notify(job_id)

    return [
        *rows.of_people(database),
        JobHolding(records, stopped),
        ResultHolding(database, records.pictures),
        *files.of_tenants(database),
        FileHolding(database, records.people, rooms.files, rooms.batches),
        *rows.of_tenants(database),
        tenant.UsageHolding(database, records.usage),
        *tenant.of_tenants(database),
        tenant.TenantHolding(database),
    ]
