"""Limits of several replicas on both databases, with clocks that tests set."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import URL, BigInteger, ColumnElement, literal

from bowerbird.gateway.identity.principal import Principal
from bowerbird.gateway.identity.scopes import SCOPES_OF, Role
from bowerbird.gateway.identity.tiers import Tier
from bowerbird.gateway.limits.ledger import Ledger
from bowerbird.gateway.limits.limits import Limits
from bowerbird.gateway.limits.metrics import LimitMetrics
from bowerbird.gateway.records.database import Database, open_database
from bowerbird.gateway.records.writer import Writer


@dataclass
class Clock:
    """The database's clock and every replica's, set by hand; it begins with a minute, an hour and a day."""

    ms: int = 20_778 * 86_400_000

    def now(self) -> ColumnElement[int]:
        return literal(self.ms, BigInteger)

    def monotonic(self) -> float:
        return self.ms / 1000

    def advance(self, seconds: float) -> None:
        self.ms += round(seconds * 1000)


@dataclass
class Replica:
    """One gateway's limits."""

    database: Database
    ledger: Ledger
    limits: Limits
    registry: CollectorRegistry

    def metric(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, labels) or 0.0


class Replicas:
    """Gateways on one database."""

    def __init__(self, url: URL, clock: Clock, stack: AsyncExitStack) -> None:
        self._url = url
        self._stack = stack
        self.clock = clock

    async def start(self) -> Replica:
        """One more."""
        database = await self._stack.enter_async_context(open_database(self._url, self.clock.now))
        writer = Writer(database)
        await self._stack.enter_async_context(writer.running())
        registry = CollectorRegistry()
        ledger = Ledger(database, writer, secrets.token_hex(4))
        return Replica(database, ledger, Limits(ledger, LimitMetrics(registry), 0.25, self.clock.monotonic), registry)


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A database on a busy machine is slow, not away."""
    monkeypatch.setattr("bowerbird.gateway.limits.limits.ANSWER_SECONDS", 60.0)


@pytest.fixture
async def replicas(url: URL) -> AsyncIterator[Replicas]:
    """None yet."""
    async with AsyncExitStack() as stack:
        yield Replicas(url, Clock(), stack)


def principal(tier: Tier, tenant: str = "birds") -> Principal:
    return Principal(tenant, "key:key_1", Role.TENANT, SCOPES_OF[Role.TENANT], tier)
