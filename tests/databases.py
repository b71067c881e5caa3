"""Databases at the newest revision, of each kind and without rows, as fast as they can be had: migrations are run once.

A SQLite file is copied; a PostgreSQL database is emptied, which takes a third of making and dropping another one.
Migrations have tests of their own.
"""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest
from sqlalchemy import URL

import bowerbird.gateway.batches.tables
import bowerbird.gateway.demand.tables
import bowerbird.gateway.feedback.tables
import bowerbird.gateway.files.tables
import bowerbird.gateway.identity.tables
import bowerbird.gateway.limits.table
import bowerbird.gateway.results.table
import bowerbird.gateway.rights.tables
import bowerbird.gateway.webhooks.tables
from bowerbird.gateway.records.database import FILE_NAME, database_url, open_database
from bowerbird.gateway.records.tables import metadata

from .postgresql import RunningPostgreSQL

assert bowerbird.gateway.batches.tables.__name__
assert bowerbird.gateway.demand.tables.__name__
assert bowerbird.gateway.feedback.tables.__name__
assert bowerbird.gateway.files.tables.__name__
assert bowerbird.gateway.identity.tables.__name__  # their tables are in `metadata` now
assert bowerbird.gateway.limits.table.__name__
assert bowerbird.gateway.results.table.__name__
assert bowerbird.gateway.rights.tables.__name__
assert bowerbird.gateway.webhooks.tables.__name__

TEMPLATE, SHARED = "newest", "shared"


@pytest.fixture(scope="session")
def newest_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file, to copy."""
    folder = tmp_path_factory.mktemp("newest")
    asyncio.run(_migrated(database_url(None, folder)))
    return folder / FILE_NAME


@pytest.fixture(scope="session")
def newest_template(postgresql: RunningPostgreSQL) -> str:
    """The name of a PostgreSQL database, to copy."""
    asyncio.run(_migrated(database_url(postgresql.create(TEMPLATE), Path())))
    return TEMPLATE


@pytest.fixture(scope="session")
def _shared_database(postgresql: RunningPostgreSQL, newest_template: str) -> str:
    """A copy of it that one test after the other has; what the migrations put into tables is kept aside."""
    postgresql.create(SHARED, newest_template)
    keeping = (f"CREATE TABLE kept.{name} AS TABLE public.{name};" for name in metadata.tables)
    postgresql.execute("CREATE SCHEMA kept;" + "".join(keeping), SHARED)
    return SHARED


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> URL:
    """A database of each kind, with nothing in it but what the migrations put there."""
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("newest_file"), tmp_path / FILE_NAME)
        return database_url(None, tmp_path)
    server: RunningPostgreSQL = request.getfixturevalue("postgresql")
    name = request.getfixturevalue("_shared_database")
    emptying = f"TRUNCATE {', '.join(metadata.tables)};"
    again = (f"INSERT INTO {each.name} TABLE kept.{each.name};" for each in metadata.sorted_tables)
    # Triggers rest meanwhile: some tables are not to be emptied.
    server.execute("SET session_replication_role = replica;" + emptying + "".join(again), name)
    return database_url(server.url(name), tmp_path)


async def _migrated(url: URL) -> None:
    async with open_database(url):
        pass
