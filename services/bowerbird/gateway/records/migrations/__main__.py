"""`python -m bowerbird.gateway.records.migrations`: brings the database to the newest revision, and ends.

The chart's Job runs it before it installs or upgrades, so that a migration that fails stops Helm while the gateways of
the release before serve on. A gateway does the same when it starts; whoever comes second finds nothing to do. On a
rollback Helm runs the *older* release's Job: a newer database that it may run on is left as it is.
"""

from __future__ import annotations

import asyncio

from bowerbird.errors import RecordsUnavailable
from bowerbird.gateway.records.database import database_url, open_database
from bowerbird.settings import Settings
from bowerbird.telemetry import set_up_telemetry


async def migrate(settings: Settings) -> None:
    """Raises SystemExit with a sentence where the database cannot be asked, or is not for this release."""
    try:
        async with open_database(database_url(settings.database_url, settings.home)):
            return
    except RecordsUnavailable as error:
        raise SystemExit(f"The database was not migrated: {error}") from error


if __name__ == "__main__":
    set_up_telemetry("migrations")
    asyncio.run(migrate(Settings()))
