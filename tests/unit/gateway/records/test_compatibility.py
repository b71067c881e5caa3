"""Release N-1 on the tables of release N: a revision that this release does not know, made by the next one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, select, text

from bowerbird.gateway.records import migrations
from bowerbird.gateway.records.database import FILE_NAME, Database, _engines, database_url, open_database
from bowerbird.gateway.records.migrations import NEWEST, alembic_config
from bowerbird.gateway.records.migrations.compatibility import FIRST_STATED
from bowerbird.gateway.records.secret import shared_secret
from bowerbird.gateway.records.tables import revisions

NEXT = f"{int(NEWEST) + 1:04d}"

NEXT_RELEASE = f'''
import sqlalchemy as sa
from alembic import op
from bowerbird.gateway.records.migrations.compatibility import state_compatibility

revision, down_revision, branch_labels, depends_on = "{NEXT}", "{NEWEST}", None, None


def upgrade():
    op.add_column("secrets", sa.Column("origin", sa.String(8), nullable=True))
    op.create_table("plumage", sa.Column("id", sa.Integer(), primary_key=True))
    STATED
'''


@pytest.fixture
def next_release(tmp_path: Path) -> Path:
    """The migrations of the release after this one."""
    folder = tmp_path / "next"
    shutil.copytree(Path(migrations.__file__).parent, folder)
    return folder


def migrate(folder: Path, connection: Connection, stated: str) -> None:
    (folder / "versions" / "next.py").write_text(NEXT_RELEASE.replace("STATED", stated))
    config = alembic_config(connection)
    config.set_main_option("script_location", str(folder))
    command.upgrade(config, "head")


async def upgraded(url: URL, folder: Path, stated: str) -> None:
    """What the next release leaves behind when it is rolled back."""
    _, writer, *_ = _engines(url)
    async with writer.begin() as connection:
        await connection.run_sync(lambda it: migrate(folder, it, stated))
    await writer.dispose()


async def works(database: Database) -> bool:
    return await shared_secret(database, "cursor") == await shared_secret(database, "cursor")


async def test_release_before_runs_on_what_the_next_one_added(empty: URL, next_release: Path) -> None:
    async with open_database(empty) as database:
        before = await shared_secret(database, "cursor")
    await upgraded(empty, next_release, f'state_compatibility(revision, "{NEWEST}")')

    async with open_database(empty) as database, database.reading() as connection:
        assert await shared_secret(database, "cursor") == before
        assert await works(database)
        assert await connection.scalar(text("SELECT version_num FROM alembic_version")) == NEXT


@pytest.mark.parametrize("stated", [f'state_compatibility(revision, "{NEXT}")', "pass"])
async def test_release_that_the_next_one_does_not_name_is_stopped_with_a_sentence(
    newest_file: Path, next_release: Path, tmp_path: Path, stated: str
) -> None:
    shutil.copy(newest_file, tmp_path / FILE_NAME)
    url = database_url(None, tmp_path)
    await upgraded(url, next_release, stated)
    with pytest.raises(SystemExit, match=f"at revision {NEXT}, and this release knows revisions up to {NEWEST}"):
        async with open_database(url):
            pass


async def test_every_revision_since_the_ninth_says_which_release_it_runs_with(url: URL) -> None:
    script = ScriptDirectory.from_config(alembic_config(None))
    known = {each.revision for each in script.walk_revisions()}
    async with open_database(url) as database, database.reading() as connection:
        stated = {row.revision: row.runs_from for row in await connection.execute(select(revisions))}
    assert set(stated) == {each for each in known if each >= FIRST_STATED}
    assert all(runs_from < revision for revision, runs_from in stated.items()), "the release before it runs on"
