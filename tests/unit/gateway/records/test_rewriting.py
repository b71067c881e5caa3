"""A deleted row is in no file of the database once it was written anew; the tests read the files."""

from __future__ import annotations

import asyncio
import secrets as random
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import URL, delete, insert, text

from bowerbird.gateway.records.database import FILE_NAME, Database, open_database
from bowerbird.gateway.records.tables import leases, secrets
from tests.postgresql import RunningPostgreSQL

WORD = b"xylographic-quincunx"


def files_with_the_word(folder: Path) -> Iterator[Path]:
    for file in folder.rglob("*"):
        if file.is_file() and WORD in file.read_bytes():
            yield file


async def written_and_deleted(database: Database) -> None:
    """Rows enough for pages of their own, beside some that stay."""
    async with database.writing() as connection:
        for number in range(200):
            name = f"{'stays' if number % 4 else 'goes'}-{number}"
            value = b"x" if number % 4 else WORD + random.token_bytes(1_000)  # which nothing compresses
            await connection.execute(insert(secrets).values(name=name, value=value))
    async with database.writing() as connection:
        await connection.execute(delete(secrets).where(secrets.c.name.like("goes-%")))


async def test_sqlites_file_and_log_keep_nothing(url: URL) -> None:
    if url.get_backend_name() == "postgresql":
        pytest.skip("has a test of its own")
    folder = Path(str(url.database)).parent
    async with open_database(url) as database:
        await written_and_deleted(database)
        assert set(files_with_the_word(folder)) >= {folder / f"{FILE_NAME}-wal"}
        assert await database.rewrite(["secrets"])
        assert list(files_with_the_word(folder)) == []
        async with database.reading() as connection:
            assert await connection.scalar(text("SELECT count(*) FROM secrets WHERE name LIKE 'stays-%'")) == 150


async def test_postgresqls_tables_keep_nothing(url: URL, request: pytest.FixtureRequest) -> None:
    if url.get_backend_name() != "postgresql":
        pytest.skip("has a test of its own")
    server: RunningPostgreSQL = request.getfixturevalue("postgresql")
    base = server.data / "base"
    async with open_database(url) as database:
        await written_and_deleted(database)
        await asyncio.to_thread(server.execute, "CHECKPOINT")
        assert list(files_with_the_word(base))
        assert await database.rewrite(["secrets"])
        await asyncio.to_thread(server.execute, "CHECKPOINT")
        assert list(files_with_the_word(base)) == []


async def test_others_write_while_it_is_written_anew(url: URL) -> None:
    async with open_database(url) as database:
        await written_and_deleted(database)

        async def write(number: int) -> None:
            async with database.writing() as connection:
                await connection.execute(insert(leases).values(name=f"l{number}", owner="o", epoch=1, until_ms=0))

        await asyncio.gather(database.rewrite(["secrets", "leases"]), *map(write, range(20)))
        async with database.reading() as connection:
            assert await connection.scalar(text("SELECT count(*) FROM leases WHERE name LIKE 'l%'")) == 20


async def test_a_table_that_somebody_holds_is_left_to_the_server(url: URL, monkeypatch: pytest.MonkeyPatch) -> None:
    if url.get_backend_name() != "postgresql":
        pytest.skip("SQLite has no tables that are held")
    monkeypatch.setattr("bowerbird.gateway.records.rewriting.LOCK_SECONDS", 1)
    async with open_database(url) as database, database.writing() as holding:
        await holding.execute(text("LOCK TABLE secrets IN ACCESS SHARE MODE"))
        assert not await database.rewrite(["secrets"])
