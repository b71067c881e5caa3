"""Backups: rows of every table and every picture, into a folder and a bucket, and back into an empty database."""

from __future__ import annotations

import asyncio
import secrets
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import URL, inspect, text
from typer.testing import CliRunner

from bowerbird.backups import app
from bowerbird.errors import BackupInvalid, DatabaseNotEmpty
from bowerbird.gateway.backups.format import BACKUPS, PICTURES, line_of, manifest_key, row_of
from bowerbird.gateway.backups.keeping import forget_old
from bowerbird.gateway.backups.restoring import backups_in, restore_backup
from bowerbird.gateway.backups.writing import patiently, write_backup
from bowerbird.gateway.pictures import PictureStore, open_pictures
from bowerbird.gateway.records.database import FILE_NAME, database_url, open_database
from bowerbird.gateway.records.migrations import NEWEST, upgrade
from bowerbird.gateway.results.table import results
from tests.mounted import MountedSecret
from tests.s3 import RunningS3

from ..records.revisions import ROWS

MOMENT = datetime(2026, 11, 22, 3, 15, tzinfo=UTC)
RESULT = {
    "id": "res_1",
    "key": "k",
    "likeness": "l",
    "state": "ready",
    "pictures": 1,
    "bytes": 80_000,
    "digest": "d",
    "facts": "{}",
    "cost": 0.1 + 0.2,
    "uses": 1,
    "credit": 1e-300,
    "expires_ms": 2**53 + 1,
}
PICTURED = {"jobs/job_1/1-0": b"a robin", "files/file_1/0": b"lines", "results/res_1": b"\x00\xff" * 40_000}


class Places:
    """Databases and stores that a test asks for; a server is started only where its parameters name it."""

    def __init__(self, request: pytest.FixtureRequest, folder: Path) -> None:
        self._request = request
        self._folder = folder
        self._made: list[str] = []
        named, self._newest = request.node.name, request.getfixturevalue("newest_file")
        self._server: Any = None
        if "postgresql" in named:
            self._server = request.getfixturevalue("postgresql")
            request.getfixturevalue("newest_template")

    async def database(self, kind: str, *, newest: bool = False) -> URL:
        """One without a table, or at the newest revision, without a row."""
        name = f"t{secrets.token_hex(6)}"
        if kind == "sqlite":
            (self._folder / name).mkdir()
            if newest:
                shutil.copy(self._newest, self._folder / name / FILE_NAME)
            return database_url(None, self._folder / name)
        self._made.append(name)
        template = self._request.getfixturevalue("newest_template") if newest else "template0"
        return database_url(await asyncio.to_thread(self._server.create, name, template), self._folder)

    async def filled(self, kind: str, pictures: PictureStore) -> URL:
        """One with rows in every table, and a store with pictures of every kind."""
        url = await self.database(kind, newest=True)
        await fill(url, pictures)
        return url

    def store(self, kind: str) -> PictureStore:
        """An empty one."""
        name = secrets.token_hex(6)
        if kind == "folder":
            return open_pictures(f"file://{self._folder / name}", self._folder)
        server: RunningS3 = self._request.getfixturevalue("s3")
        own = {variable.lower(): value for variable, value in server.environment.items()}
        return open_pictures(f"{server.bucket_url}/{name}", self._folder, own)

    def close(self) -> None:
        """Drops what a server keeps."""
        for name in self._made:
            self._server.drop(name)


@pytest.fixture
def places(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Places]:
    made = Places(request, tmp_path)
    yield made
    made.close()


async def fill(url: URL, pictures: PictureStore, revision: str = NEWEST) -> None:
    """Rows in every table, as a revision knows them, and pictures of every kind."""
    async with patiently(url, only_reads=False) as connection:
        if revision != NEWEST:
            await connection.run_sync(upgrade, revision)
        for table, row in ROWS[revision]:
            columns, values = ", ".join(row), ", ".join(f":{name}" for name in row)
            await connection.execute(text(f"INSERT INTO {table} ({columns}) VALUES ({values})"), row)  # noqa: S608
        if revision == NEWEST:
            await connection.execute(results.insert(), RESULT)
    for key, body in PICTURED.items():
        await pictures.put(key, body)


async def rows_in(url: URL) -> dict[str, list[tuple[Any, ...]]]:
    """Everything in a database."""
    async with patiently(url, only_reads=True) as connection:
        names = await connection.run_sync(lambda inner: inspect(inner).get_table_names())
        asked = {name: await connection.execute(text(f'SELECT * FROM "{name}"')) for name in names}  # noqa: S608
        return {name: sorted(map(tuple, rows), key=repr) for name, rows in asked.items()}


async def pictures_in(store: PictureStore) -> dict[str, bytes]:
    """Everything that the gateway keeps in a store."""
    keys = [key for prefix in ("jobs/", "files/", "results/") for key in [each async for each in store.keys(prefix)]]
    return {key: await store.get(key) for key in keys}


@pytest.mark.parametrize(
    ("source", "held", "backup", "target"),
    [
        ("sqlite", "folder", "s3", "sqlite"),
        ("postgresql", "s3", "folder", "postgresql"),
        ("sqlite", "folder", "folder", "postgresql"),
    ],
)
async def test_nothing_is_missing_of_what_is_restored_into_an_empty_database(
    places: Places, source: str, held: str, backup: str, target: str
) -> None:
    pictures, backups = places.store(held), places.store(backup)
    url = await places.filled(source, pictures)
    before = await rows_in(url)
    assert all(before.values()), "a table without a row proves nothing"
    written = await write_backup(url, pictures, backups, MOMENT)
    again, elsewhere = await places.database(target, newest=True), places.store(held)  # migrated, and nobody was served
    await restore_backup(again, elsewhere, backups, "latest")
    assert await rows_in(again) == before
    assert await pictures_in(elsewhere) == PICTURED
    assert (written.manifest.pictures.count, written.new_pictures) == (len(PICTURED), len(PICTURED))
    async with open_database(again):  # and a gateway starts on it
        pass


async def test_an_older_revision_is_restored_and_then_migrated(places: Places) -> None:
    pictures, backups = places.store("folder"), places.store("folder")
    url, again = await places.database("sqlite"), await places.database("sqlite")
    await fill(url, pictures, "0009")
    await write_backup(url, pictures, backups, MOMENT)
    await restore_backup(again, places.store("folder"), backups, "latest")
    async with open_database(url):
        pass
    assert await rows_in(again) == await rows_in(url)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_rows_are_those_of_one_moment(places: Places, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures, backups = places.store("folder"), places.store("folder")
    url = await places.filled(kind, pictures)
    before, put = await rows_in(url), backups.put

    async def put_while_rows_come(key: str, body: bytes) -> None:
        async with patiently(url, only_reads=False) as connection:
            name = {"name": secrets.token_hex(8)}
            await connection.execute(text("INSERT INTO secrets (name, value) VALUES (:name, '')"), name)
        await put(key, body)

    monkeypatch.setattr(backups, "put", put_while_rows_come)
    written = await write_backup(url, pictures, backups, MOMENT)
    assert {name: each.count for name, each in written.manifest.tables.items()} == {
        name: len(rows) for name, rows in before.items() if name != "alembic_version"
    }


async def test_a_picture_is_copied_once_and_goes_with_the_last_backup_that_names_it(places: Places) -> None:
    pictures, backups = places.store("folder"), places.store("folder")
    url = await places.filled("sqlite", pictures)
    await write_backup(url, pictures, backups, MOMENT)
    await pictures.delete(["jobs/job_1/1-0"])
    await pictures.put("jobs/job_2/1-0", b"a jay")
    later = await write_backup(url, pictures, backups, MOMENT + timedelta(days=1))
    assert later.new_pictures == 1
    await backups.put(f"{BACKUPS}20260101T000000Z/jobs-00000.jsonl.gz", b"of one that was never finished")
    assert await forget_old(backups, keep=2) == []
    assert {key async for key in backups.keys(PICTURES)} == {PICTURES + key for key in [*PICTURED, "jobs/job_2/1-0"]}
    assert await forget_old(backups, keep=1) == ["20261122T031500Z"]
    assert await backups_in(backups) == ["20261123T031500Z"]
    assert {key.split("/")[1] async for key in backups.keys(BACKUPS)} == {"20261123T031500Z"}
    assert PICTURES + "jobs/job_1/1-0" not in {key async for key in backups.keys(PICTURES)}
    assert {each async for each in backups.keys(PICTURES)} == {PICTURES + each for each in await pictures_in(pictures)}


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_a_database_that_somebody_uses_is_left_alone(places: Places, kind: str) -> None:
    pictures, backups = places.store("folder"), places.store("folder")
    url = await places.filled(kind, pictures)
    await write_backup(url, pictures, backups, MOMENT)
    before = await rows_in(url)
    with pytest.raises(DatabaseNotEmpty, match=r"has rows in \w+: a backup is put into an empty one only"):
        await restore_backup(url, pictures, backups, "latest")
    served = await places.database(kind, newest=True)
    async with open_database(served) as database, database.writing() as connection:
        lease = "INSERT INTO leases (name, owner, epoch, until_ms) VALUES ('sweeper', 'a:1', 1, 9000000000000)"
        await connection.execute(text(lease))
    with pytest.raises(DatabaseNotEmpty, match="A gateway runs on this database, a:1"):
        await restore_backup(served, pictures, backups, "latest")
    assert await rows_in(url) == before


async def alter_rows(backups: PictureStore) -> None:
    """Another byte in a table."""
    (key,) = [each async for each in backups.keys(BACKUPS) if "/jobs-" in each]
    await replace(backups, key, lambda body: body[:-1] + bytes([body[-1] ^ 1]))


async def lose_a_picture(backups: PictureStore) -> None:
    """One of those that are listed."""
    await backups.delete([PICTURES + "results/res_1"])


async def write_by_a_later_release(backups: PictureStore) -> None:
    """A manifest with a revision that is not known yet."""
    key = manifest_key("20261122T031500Z")
    await replace(backups, key, lambda body: body.replace(f'"revision":"{NEWEST}"'.encode(), b'"revision":"9999"'))


async def replace(store: PictureStore, key: str, change: Callable[[bytes], bytes]) -> None:
    """A file of a backup, changed."""
    body = await store.get(key)
    await store.delete([key])
    await store.put(key, change(body))


@pytest.mark.parametrize(
    ("kind", "harm", "sentence"),
    [
        ("postgresql", alter_rows, r"jobs-00000\.jsonl\.gz is not the file that was written: expected sha256:"),
        ("sqlite", alter_rows, "not the file that was written"),
        ("sqlite", lose_a_picture, "The backup is not complete: pictures/results/res_1 is gone"),
        ("sqlite", write_by_a_later_release, "whose tables this one does not know: let that release restore it"),
    ],
)
async def test_a_backup_that_is_not_whole_changes_nothing(places: Places, kind: str, harm: Any, sentence: str) -> None:
    pictures, backups = places.store("folder"), places.store("folder")
    url = await places.filled("sqlite", pictures)
    await write_backup(url, pictures, backups, MOMENT)
    await harm(backups)
    again = await places.database(kind)
    with pytest.raises(BackupInvalid, match=sentence):
        await restore_backup(again, places.store("folder"), backups, "latest")
    assert await rows_in(again) == {}


@given(st.lists(st.none() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text() | st.binary()))
def test_a_row_comes_back_as_it_was(row: list[Any]) -> None:
    back = row_of(line_of(row))
    assert back == row
    assert list(map(type, back)) == list(map(type, row))


def test_the_commands_say_in_a_line_what_they_did(
    newest_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, home = CliRunner(), tmp_path / "home"
    monkeypatch.setenv("BOWERBIRD_HOME", str(home))
    assert "BOWERBIRD_BACKUP_URL is not set" in str(run.invoke(app, ["write"]).exception)
    monkeypatch.setenv("BOWERBIRD_BACKUP_URL", f"file://{tmp_path}/backups")
    assert "no gateway has made its tables" in str(run.invoke(app, ["write"]).exception)
    assert "There is no backup." in str(run.invoke(app, ["restore"]).exception)
    home.mkdir(exist_ok=True)
    shutil.copy(newest_file, home / FILE_NAME)
    asyncio.run(fill(database_url(None, home), open_pictures(None, home)))
    assert "3 pictures (3 of them new)" in run.invoke(app, ["write"]).output
    assert "rows  3 pictures" in run.invoke(app, ["list"]).output
    assert "has rows in" in str(run.invoke(app, ["restore"]).exception)
    left = run.invoke(app, ["restore", "latest", "--if-empty"])
    assert (left.exit_code, left.output.startswith("Nothing is restored: ")) == (0, True)
    monkeypatch.setenv("BOWERBIRD_HOME", str(tmp_path / "again"))
    assert "rows, 3 pictures" in run.invoke(app, ["restore"]).output


def test_the_commands_reach_each_bucket_with_the_key_in_its_folder(
    newest_file: Path, tmp_path: Path, s3: RunningS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, pictures, backups = CliRunner(), MountedSecret(tmp_path / "pictures"), MountedSecret(tmp_path / "backups")
    own, name = s3.new_key(), secrets.token_hex(6)
    pictures.write(**s3.environment)
    backups.write(**{each: own[each] for each in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")})
    for variable, value in {
        "HOME": tmp_path,
        "PICTURES_URL": f"{s3.bucket_url}/{name}/pictures",
        "PICTURES_SECRETS": pictures.folder,
        "BACKUP_URL": f"{s3.bucket_url}/{name}/backups",
        "BACKUP_SECRETS": backups.folder,
    }.items():
        monkeypatch.setenv(f"BOWERBIRD_{variable}", str(value))
    shutil.copy(newest_file, tmp_path / FILE_NAME)
    store = open_pictures(f"{s3.bucket_url}/{name}/pictures", tmp_path, secrets=[pictures.folder])
    asyncio.run(fill(database_url(None, tmp_path), store))
    assert "3 pictures (3 of them new)" in run.invoke(app, ["write"]).output
    s3.take_away(own)
    assert "cannot be read or written" in str(run.invoke(app, ["write"]).exception)
