"""A SQLite connection that is closed holds nothing, whoever still remembers a statement of it; and a short transaction.

A cancelled call's exception does: its traceback holds the cursor until the garbage is collected, and SQLite keeps what
a connection held until its last statement is gone.
"""

from __future__ import annotations

import asyncio
import gc
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from bowerbird.gateway.records.database import FILE_NAME, Database, database_url, open_database

ROW = "INSERT INTO leases (name, owner, epoch, until_ms) VALUES (:name, 'owner', 1, 0)"
LEASE = "INSERT INTO leases (name, owner, epoch, until_ms) VALUES (:name, 'owner', 1, reached()) RETURNING name"


@pytest.fixture
def _garbage_stays() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


async def _cancels_its_caller(connection: AsyncConnection) -> None:
    """SQL `reached()`: its statement is done, and its answer comes to somebody who was cancelled before it."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None

    def reached() -> int:
        loop.call_soon_threadsafe(task.cancel)
        return 0

    driver: Any = (await connection.get_raw_connection()).driver_connection
    await driver.create_function("reached", 0, reached)


@pytest.mark.usefixtures("_garbage_stays")
async def test_a_cancelled_write_holds_nobody_up(tmp_path: Path) -> None:
    async with open_database(database_url(None, tmp_path)) as database:

        async def written() -> None:
            async with database.writing() as connection:
                await _cancels_its_caller(connection)
                await connection.execute(text(LEASE), {"name": "cancelled"})

        [end] = await asyncio.gather(asyncio.create_task(written()), return_exceptions=True)
        assert isinstance(end, asyncio.CancelledError)
        async with database.writing() as connection:
            assert (await connection.execute(text("SELECT count(*) FROM leases"))).scalar() == 0


@pytest.mark.usefixtures("_garbage_stays")
async def test_a_cancelled_read_does_not_keep_the_log_from_being_emptied(tmp_path: Path) -> None:
    """Else what an erasure removed would stay in it."""
    async with open_database(database_url(None, tmp_path)) as database:

        async def read() -> None:
            async with database.reading() as connection:
                await _cancels_its_caller(connection)
                await connection.execute(text("SELECT reached(), name FROM sqlite_master"))

        [end] = await asyncio.gather(asyncio.create_task(read()), return_exceptions=True)
        assert isinstance(end, asyncio.CancelledError)
        async with database.writing() as connection:
            await connection.execute(text("INSERT INTO leases (name, owner, epoch, until_ms) VALUES ('a', 'b', 1, 0)"))
        assert await database.rewrite([])


async def _in_thread(database: Database, *, short: bool) -> int:
    """The thread in which a statement of such a transaction runs."""
    threads = []
    async with database.writing(short=short) as connection:
        driver: Any = (await connection.get_raw_connection()).driver_connection
        await driver.create_function("seen", 0, lambda: threads.append(threading.get_ident()))
        await connection.execute(text("SELECT seen()"))
    return threads[0]


async def test_statements_of_a_short_transaction_take_no_way_to_another_thread(tmp_path: Path) -> None:
    async with open_database(database_url(None, tmp_path)) as database:
        assert await _in_thread(database, short=True) == threading.get_ident()
        assert await _in_thread(database, short=False) != threading.get_ident()


async def test_a_short_transaction_waits_for_another_writer_and_stops_nobody_meanwhile(tmp_path: Path) -> None:
    async with open_database(database_url(None, tmp_path)) as database:
        other = sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")

        async def written() -> None:
            async with database.writing(short=True) as connection:
                await connection.execute(text(ROW), {"name": "a"})

        writing = asyncio.create_task(written())
        for _ in range(50):
            await asyncio.sleep(0.001)  # the event loop goes on
        assert not writing.done()
        other.execute("COMMIT")
        await writing
        other.close()


async def test_a_write_that_is_cancelled_while_it_waits_leaves_the_next_one_alone(tmp_path: Path) -> None:
    async with open_database(database_url(None, tmp_path)) as database:
        other = sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")

        async def written(name: str) -> None:
            async with database.writing(short=True) as connection:
                await connection.execute(text(ROW), {"name": name})

        cancelled = asyncio.create_task(written("cancelled"))
        await asyncio.sleep(0.05)
        cancelled.cancel()
        other.execute("COMMIT")
        other.close()
        await asyncio.gather(cancelled, return_exceptions=True)
        await written("next")
        async with database.reading() as connection:
            assert (await connection.execute(text("SELECT name FROM leases"))).scalars().all() == ["next"]


async def test_a_short_transaction_that_fails_has_not_happened(tmp_path: Path) -> None:
    async with open_database(database_url(None, tmp_path)) as database:

        async def written() -> None:
            async with database.writing(short=True) as connection:
                for _ in range(2):
                    await connection.execute(text(ROW), {"name": "once"})

        with pytest.raises(IntegrityError):
            await written()
        async with database.writing(short=True) as connection:
            assert (await connection.execute(text("SELECT count(*) FROM leases"))).scalar() == 0
