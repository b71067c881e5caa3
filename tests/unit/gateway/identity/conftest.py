"""Tenants, keys and audit log on both databases, with clocks that tests set."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from sqlalchemy import URL, BigInteger, ColumnElement, literal

from bowerbird.gateway.identity.audit import AuditLog, Author
from bowerbird.gateway.identity.keys import AccessKeys
from bowerbird.gateway.identity.known_keys import KnownKeys, Terms
from bowerbird.gateway.identity.tenants import NewTenant, Tenants
from bowerbird.gateway.identity.tiers import read_tiers
from bowerbird.gateway.records.database import Database, open_database

AUTHOR = Author("key:key_admin", "req_1")


@dataclass
class Clock:
    """The database's clock and this process', set by hand."""

    ms: int = 1_795_262_400_000

    def now(self) -> ColumnElement[int]:
        return literal(self.ms, BigInteger)

    def monotonic(self) -> float:
        return self.ms / 1000

    def advance(self, seconds: float) -> None:
        self.ms += round(seconds * 1000)


class Office:
    """Where tenants and keys are made, as one replica sees it."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self.database = database
        self.clock = clock
        self.audit = AuditLog(database)
        self.tenants = Tenants(database, self.audit)
        self.keys = AccessKeys(database, self.audit)
        self.known = self.replica()

    def replica(self) -> KnownKeys:
        """What another replica remembers: nothing yet."""
        return KnownKeys(self.keys, self.tenants, Terms(read_tiers(None), {}), self.clock.monotonic)

    async def tenant(self, tenant_id: str = "birds", **terms: object) -> str:
        facts: dict[str, object] = {"name": tenant_id, "tier": "standard", **terms}
        await self.tenants.create(NewTenant(id=tenant_id, **facts), AUTHOR)  # type: ignore[arg-type]
        return tenant_id


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A database on a busy machine is slow, not away."""
    monkeypatch.setattr("bowerbird.gateway.limits.limits.ANSWER_SECONDS", 60.0)


@pytest.fixture
async def office(url: URL) -> AsyncIterator[Office]:
    """An office without tenants."""
    clock = Clock()
    async with open_database(url, clock.now) as database:
        yield Office(database, clock)
