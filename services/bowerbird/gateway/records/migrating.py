"""Bringing the database to the newest revision before anybody serves from it.

The chart's Job calls `migrate` before it installs or upgrades; a gateway that keeps its rows in a file calls
`migrate_apart` when it starts. Either ends in `open_database`, which does what is missing and finds nothing to do the
second time.
"""

from __future__ import annotations

import asyncio
import multiprocessing
from contextlib import suppress

from bowerbird.errors import RecordsUnavailable
from bowerbird.gateway.records.database import OPEN_SECONDS, database_url, open_database
from bowerbird.settings import Settings


async def migrate(settings: Settings, patience_seconds: float = OPEN_SECONDS) -> None:
    """Raises SystemExit with a sentence where the database cannot be asked, or is not for this release."""
    try:
        async with open_database(database_url(settings.database_url, settings.home), patience_seconds=patience_seconds):
            return
    except RecordsUnavailable as error:
        raise SystemExit(f"The database was not migrated: {error}") from error


def migrate_apart(settings: Settings) -> None:
    """Does it in a process that ends: Alembic, and every dialect that it knows, are 12 MB of who imports them.

    Called before there is a thread (`fork`). Whatever keeps it from its work, the gateway meets itself, waits for, and
    says. PostgreSQL is migrated by the Job, and a gateway on it finds nothing to do.
    """
    if database_url(settings.database_url, settings.home).get_backend_name() != "sqlite":
        return
    child = multiprocessing.get_context("fork").Process(target=_migrate_quietly, args=(settings,))
    child.start()
    child.join()


def _migrate_quietly(settings: Settings) -> None:
    with suppress(SystemExit, Exception):  # see above
        asyncio.run(migrate(settings, patience_seconds=0))
