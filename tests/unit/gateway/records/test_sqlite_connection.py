"""A SQLite connection that is closed holds nothing, whoever still remembers a statement of it.

A cancelled call's exception does: its traceback holds the cursor until the garbage is collected, and SQLite keeps what
a connection held until its last statement is gone.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from bowerbird.gateway.records.database import database_url, open_database

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
