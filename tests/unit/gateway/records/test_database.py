"""The database comes up at its newest revision with what was in it, and its failures are facts."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, select, text

import bowerbird.gateway.batches.tables
import bowerbird.gateway.demand.tables
import bowerbird.gateway.feedback.tables
import bowerbird.gateway.files.tables
import bowerbird.gateway.identity.tables
import bowerbird.gateway.limits.table
import bowerbird.gateway.results.table
import bowerbird.gateway.rights.tables
import bowerbird.gateway.webhooks.tables
from bowerbird.errors import RecordsUnavailable
from bowerbird.gateway.records.database import FILE_NAME, Database, _engines, database_url, open_database
from bowerbird.gateway.records.migrations import NEWEST, alembic_config, upgrade
from bowerbird.gateway.records.secret import shared_secret
from bowerbird.gateway.records.tables import metadata
from tests.postgresql import RunningPostgreSQL, running_postgresql

from .revisions import ROWS

assert bowerbird.gateway.batches.tables.__name__
assert bowerbird.gateway.demand.tables.__name__
assert bowerbird.gateway.feedback.tables.__name__
assert bowerbird.gateway.files.tables.__name__
assert bowerbird.gateway.identity.tables.__name__  # their tables are in `metadata` now
assert bowerbird.gateway.limits.table.__name__
assert bowerbird.gateway.results.table.__name__
assert bowerbird.gateway.rights.tables.__name__
assert bowerbird.gateway.webhooks.tables.__name__


def revisions() -> list[str]:
    script = ScriptDirectory.from_config(alembic_config(None))
    return [each.revision for each in reversed(list(script.walk_revisions()))]


def test_the_newest_revision_is_the_last() -> None:
    assert revisions()[-1] == NEWEST
    assert set(ROWS) == set(revisions())


async def test_the_migrations_make_exactly_the_tables_that_the_code_uses(empty: URL) -> None:
    def differences(connection: Connection) -> list[object]:
        return list(compare_metadata(MigrationContext.configure(connection), metadata))

    async with open_database(empty) as database, database.reading() as connection:
        assert await connection.run_sync(differences) == []


@pytest.mark.parametrize("revision", revisions())
async def test_a_database_of_every_revision_is_brought_to_the_newest_with_its_rows(empty: URL, revision: str) -> None:
    _, writer, *_ = _engines(empty)
    async with writer.begin() as connection:
        await connection.run_sync(upgrade, revision)
        for table, row in ROWS[revision]:
            columns, values = ", ".join(row), ", ".join(f":{name}" for name in row)
            await connection.execute(text(f"INSERT INTO {table} ({columns}) VALUES ({values})"), row)  # noqa: S608
    await writer.dispose()
    async with open_database(empty) as database, database.reading() as connection:
        for table, row in ROWS[revision]:
            found = (await connection.execute(select(metadata.tables[table]))).mappings().all()
            assert any(all(each[name] == value for name, value in row.items()) for each in found), table


async def test_replicas_that_start_together_migrate_once(empty: URL) -> None:
    async def start() -> bytes:
        async with open_database(empty) as database:
            return await shared_secret(database, "cursor")

    found = await asyncio.gather(*(start() for _ in range(4)))
    assert len(set(found)) == 1
    assert len(found[0]) == 32


async def test_the_clock_is_the_databases_and_in_milliseconds(url: URL) -> None:
    async with open_database(url) as database, database.reading() as connection:
        now = await connection.scalar(select(database.now()))
    assert isinstance(now, int)
    assert abs(now - time.time() * 1000) < 5_000


async def test_readers_do_not_wait_for_a_writer_and_do_not_see_what_is_not_committed(url: URL) -> None:
    async with open_database(url) as database:
        async with database.writing() as writing:
            await writing.execute(
                text("INSERT INTO leases (name, owner, epoch, until_ms) VALUES ('name', 'owner', 1, 0)")
            )
            async with database.reading() as reading:
                assert await reading.scalar(text("SELECT count(*) FROM leases")) == 0
        async with database.reading() as reading:
            assert await reading.scalar(text("SELECT count(*) FROM leases")) == 1


async def test_what_raises_inside_a_transaction_undoes_all_of_it(url: URL) -> None:
    async with open_database(url) as database:

        async def half() -> None:
            async with database.writing() as connection:
                await connection.execute(
                    text("INSERT INTO leases (name, owner, epoch, until_ms) VALUES ('name', 'owner', 1, 0)")
                )
                raise KeyError("after the first half")

        with pytest.raises(KeyError):
            await half()
        async with database.reading() as connection:
            assert await connection.scalar(text("SELECT count(*) FROM leases")) == 0


async def test_who_still_reads_when_it_is_closed_reads_to_the_end_and_nobody_after_that(url: URL) -> None:
    """What a gateway remembers is refreshed beside the requests: a connection that came back to a pool that was closed
    was never closed itself."""
    began = asyncio.Event()

    async def read(database: Database) -> object:
        async with database.reading() as connection:
            began.set()
            await asyncio.sleep(0.1)
            return await connection.scalar(text("SELECT count(*) FROM leases"))

    async with open_database(url) as database:
        reading = asyncio.create_task(read(database))
        await began.wait()
    assert reading.done()
    assert await reading == 0
    with pytest.raises(RecordsUnavailable):
        await read(database)
    gc.collect()  # warns of a connection that nobody closed


async def test_who_is_cancelled_ends_as_cancelled_whatever_the_driver_makes_of_it(tmp_path: Path) -> None:
    """Else a loop that goes on while the records are away would go on for ever, and a gateway never end."""
    async with open_database(database_url(None, tmp_path)) as database:
        asking = asyncio.Event()

        async def asked() -> None:
            async with database.reading():
                asking.set()
                try:
                    await asyncio.sleep(3600)
                except asyncio.CancelledError as error:
                    raise OSError("the connection was closed in the middle of it") from error

        task = asyncio.create_task(asked())
        await asking.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_only_what_lasts_waits_for_the_disk(tmp_path: Path) -> None:
    async def level(database: Database, *, lasting: bool) -> object:
        async with database.writing(lasting=lasting) as connection:
            return (await connection.exec_driver_sql("PRAGMA synchronous")).scalar()

    full, normal = 2, 1
    async with open_database(database_url(None, tmp_path)) as database:
        said = [await level(database, lasting=lasting) for lasting in (True, False, False, True)]
    assert said == [full, normal, normal, full]


async def test_a_sqlite_reader_cannot_write(tmp_path: Path) -> None:
    async with open_database(database_url(None, tmp_path)) as database:
        with pytest.raises(RecordsUnavailable):
            async with database.reading() as connection:
                await connection.execute(
                    text("INSERT INTO leases (name, owner, epoch, until_ms) VALUES ('name', 'owner', 1, 0)")
                )


async def test_a_file_that_is_no_database_is_a_fact(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"not a database" * 100)
    with pytest.raises(RecordsUnavailable) as raised:
        async with open_database(database_url(None, tmp_path)):
            pass
    assert raised.value.retry_after_seconds is not None


@pytest.fixture
def mortal() -> Iterator[RunningPostgreSQL]:
    """A server that nobody else needs."""
    try:
        with running_postgresql() as server:
            yield server
    except FileNotFoundError as error:
        pytest.skip(str(error))


async def test_records_are_back_when_a_killed_postgresql_is_back(mortal: RunningPostgreSQL) -> None:
    url = await asyncio.to_thread(mortal.create, "records")
    async with open_database(database_url(url, Path())) as database:
        mortal.kill()
        with pytest.raises(RecordsUnavailable) as raised:
            async with database.writing() as connection:
                await connection.execute(text("SELECT 1"))
        assert "postgres" not in raised.value.message
        await asyncio.to_thread(mortal.start)
        async with database.writing() as connection:
            assert await connection.scalar(text("SELECT count(*) FROM jobs")) == 0


async def test_a_database_that_starts_later_is_waited_for(mortal: RunningPostgreSQL) -> None:
    url = await asyncio.to_thread(mortal.create, "records")
    mortal.kill()

    async def opened() -> int | None:
        async with open_database(database_url(url, Path())) as database, database.reading() as connection:
            found: int | None = await connection.scalar(text("SELECT count(*) FROM jobs"))
            return found

    opening = asyncio.create_task(opened())
    await asyncio.sleep(0.5)
    await asyncio.to_thread(mortal.start)
    assert await opening == 0


@pytest.mark.parametrize("url", ["mysql://host/name", "http://host"])
def test_a_database_of_another_kind_is_refused_in_a_sentence(url: str) -> None:
    with pytest.raises(SystemExit, match="Accepted: postgresql://"):
        database_url(url, Path())


def test_a_configured_postgresql_is_spoken_to_with_our_driver() -> None:
    assert database_url("postgresql://u:p@h:5/n", Path()).drivername == "postgresql+asyncpg"
    assert database_url("postgres://u@h/n", Path()).drivername == "postgresql+asyncpg"
