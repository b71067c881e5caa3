"""Limits over these records, opened when the app starts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from prometheus_client import CollectorRegistry

from bowerbird.gateway.limits.ledger import Ledger
from bowerbird.gateway.limits.limits import Limits
from bowerbird.gateway.limits.metrics import LimitMetrics
from bowerbird.gateway.records.opening import Records
from bowerbird.settings import Settings


@asynccontextmanager
async def open_limits(settings: Settings, records: Records, registry: CollectorRegistry) -> AsyncIterator[Limits]:
    """Limits that are kept up until the context ends."""
    ledger = Ledger(records.database, records.writer, records.owner)
    limits = Limits(ledger, LimitMetrics(registry), settings.limits_alone_part)
    async with limits.kept_up():
        yield limits
