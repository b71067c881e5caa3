"""The results of a gateway process, opened over its records when the app starts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from prometheus_client import CollectorRegistry

from bowerbird.gateway.records.opening import Records
from bowerbird.gateway.records.secret import shared_secret
from bowerbird.gateway.results.claims import Claims
from bowerbird.gateway.results.metrics import ResultMetrics
from bowerbird.gateway.results.results import Results
from bowerbird.gateway.results.store import Keeping, ResultStore
from bowerbird.settings import Settings

SECRET_NAME = "results"  # noqa: S105 - what the secret is called, not what it is


@asynccontextmanager
async def open_results(settings: Settings, records: Records, registry: CollectorRegistry) -> AsyncIterator[Results]:
    """Results that are stored within what the settings allow, looked after until the context ends."""
    metrics = ResultMetrics(registry)
    secret = await shared_secret(records.database, SECRET_NAME)
    keeping = Keeping(settings.result_bytes, settings.result_ttl_seconds)
    database = records.database
    store = None
    if settings.result_bytes:
        store = ResultStore(database, records.pictures, keeping, metrics, records.writer)
    claims = Claims(database, records.owner) if database.is_postgresql and store else None
    results = Results(store, secret, metrics, claims=claims)
    async with results.running():
        yield results
