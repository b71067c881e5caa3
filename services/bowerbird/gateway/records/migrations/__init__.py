"""Alembic's revisions, oldest first, and `upgrade`, which brings a database to the newest.

A revision is never edited once it is in a release. A new one comes with rows of the revision before it in
`tests/unit/gateway/records/`: every upgrade is tested with data in the tables. It expands, so that the release before
it runs on, and says so (`compatibility`).
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, inspect, text

from bowerbird.gateway.records.migrations.compatibility import require_compatible

NEWEST = "0011"
"""The last revision in `versions/`: a database that has it is left alone, and Alembic is not even imported."""

STANDSTILL_SECONDS = 60
"""How long PostgreSQL lets a migration do nothing: between its statements Python works, on however slow a machine."""

logger = logging.getLogger(__name__)

_LOCK = 0x626F776572  # "bower": any number that nothing else in this database locks


def upgrade(connection: Connection, revision: str = "head") -> None:
    """Runs what is missing, within the connection's transaction; replicas that start together do it one by one.

    A database that a later release has migrated is left as it is; raises SystemExit where that release's tables are not
    for this one.
    """
    if connection.dialect.name == "postgresql":  # SQLite's transaction has excluded other writers from its begin
        connection.execute(text(f"SET LOCAL idle_in_transaction_session_timeout = '{STANDSTILL_SECONDS}s'"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    present = _present(connection)
    if revision == "head" and present is not None and present >= NEWEST:  # four digits, and only ever more
        if present > NEWEST:
            require_compatible(connection, present, NEWEST)
            logger.info("the database is newer than this release", extra={"revision": present})
        return
    from alembic import command

    command.upgrade(alembic_config(connection), revision)


def _present(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    number: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return number


def alembic_config(connection: Connection | None) -> Any:
    """What Alembic's commands need to work on this connection; without one they only read the revisions."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config
