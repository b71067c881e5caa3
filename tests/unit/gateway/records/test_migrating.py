"""A gateway's process serves from a database at its newest revision, and does not carry what brought it there."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from bowerbird.gateway.records.database import FILE_NAME
from bowerbird.gateway.records.migrations import NEWEST

STARTING = """
import sys
from bowerbird.gateway.records.migrating import migrate_apart
from bowerbird.settings import Settings

migrate_apart(Settings())
print(sorted({name.partition(".")[0] for name in sys.modules} & {"alembic", "mako"}))
"""


def started(home: Path) -> str:
    """What a process that starts in this home has imported of Alembic."""
    command = [sys.executable, "-W", "error", "-c", STARTING]
    done = subprocess.run(command, env={"BOWERBIRD_HOME": str(home)}, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.strip()


def test_alembic_ends_with_the_process_that_migrated(tmp_path: Path) -> None:
    assert started(tmp_path) == "[]"
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as file:
        assert file.execute("SELECT version_num FROM alembic_version").fetchall() == [(NEWEST,)]


def test_a_file_that_is_no_database_is_left_to_the_gateway_to_name(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text("no database, but somebody's notes" * 100)
    assert started(tmp_path) == "[]"
    assert "somebody's notes" in (tmp_path / FILE_NAME).read_text()
