"""Records on both databases, with a clock that tests set."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sqlalchemy import URL, BigInteger, ColumnElement, literal

from bowerbird.gateway.pictures.folder import FolderPictures
from bowerbird.gateway.records.claims import Claims
from bowerbird.gateway.records.database import Database, database_url, open_database
from bowerbird.gateway.records.idempotency import IdempotencyKeys
from bowerbird.gateway.records.job_events import JobEvents
from bowerbird.gateway.records.jobs import Jobs
from bowerbird.gateway.records.leases import Leases
from bowerbird.gateway.records.retention import Retention
from bowerbird.gateway.records.uploads import JobUploads
from bowerbird.gateway.records.usage import Usage
from bowerbird.gateway.records.writer import Writer
from tests.postgresql import RunningPostgreSQL

DAY_SECONDS = 86_400.0
NOON_MS = 1_795_262_400_000
"""Noon (UTC) of a day in November 2026, where every test begins."""


@dataclass
class Clock:
    """The database's clock, set by hand."""

    ms: int = NOON_MS

    def now(self) -> ColumnElement[int]:
        return literal(self.ms, BigInteger)

    def advance(self, seconds: float) -> None:
        self.ms += round(seconds * 1000)


@dataclass
class Records:
    """Every part of the room, for one replica."""

    database: Database
    writer: Writer
    clock: Clock
    pictures: FolderPictures
    owner: str = field(default_factory=lambda: secrets.token_hex(4))

    def __post_init__(self) -> None:
        self.keys = IdempotencyKeys(self.database, self.writer)
        self.jobs = Jobs(self.database, self.writer, self.keys, cursor_secret=b"c" * 32)
        self.uploads = JobUploads(self.database, self.pictures)
        self.events = JobEvents(self.database, self.writer)
        self.claims = Claims(self.database, self.writer, self.owner)
        self.usage = Usage(self.database, self.writer)
        self.leases = Leases(self.database)
        self.retention = Retention(self.database, self.writer, self.pictures, DAY_SECONDS)


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[URL]:
    """A database of each kind without a table."""
    if request.param == "sqlite":
        yield database_url(None, tmp_path)
        return
    server: RunningPostgreSQL = request.getfixturevalue("postgresql")
    name = f"t{secrets.token_hex(6)}"
    yield database_url(server.create(name), tmp_path)
    server.drop(name)


@pytest.fixture
async def records(url: URL, tmp_path: Path) -> AsyncIterator[Records]:
    """One replica's records."""
    clock = Clock()
    async with open_database(url, clock.now) as database, written(database) as writer:
        yield Records(database, writer, clock, FolderPictures(tmp_path / "pictures"))


@pytest.fixture
async def other(records: Records, url: URL) -> AsyncIterator[Records]:
    """A second replica on the same database, with connections of its own and the same clock."""
    async with open_database(url, records.clock.now) as database, written(database) as writer:
        yield Records(database, writer, records.clock, records.pictures)


@asynccontextmanager
async def written(database: Database) -> AsyncIterator[Writer]:
    """A writer that runs."""
    writer = Writer(database)
    async with writer.running():
        yield writer
