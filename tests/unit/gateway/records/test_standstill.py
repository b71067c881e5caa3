"""A process that is stopped between BEGIN and COMMIT does not hold up the others, and comes back to itself."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import URL, insert, select, text, update

from bowerbird.gateway.records import migrations
from bowerbird.gateway.records.database import STANDSTILL_SECONDS, open_database
from bowerbird.gateway.records.migrations import upgrade
from bowerbird.gateway.records.tables import leases

from .conftest import Records

SCRIPT = Path(__file__).parent / "standing_still.py"


@asynccontextmanager
async def stopped(url: URL, then: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that has written and not committed, and does nothing any more."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(SCRIPT), url.render_as_string(False), then),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert await said(process) == "in the middle"
        process.send_signal(signal.SIGSTOP)
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def said(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    return (await asyncio.wait_for(process.stdout.readline(), 30)).decode().strip()


async def owner(records: Records) -> str | None:
    async with records.database.reading() as connection:
        return await connection.scalar(select(leases.c.owner))


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("then", ["write", "commit"])
async def test_its_locks_are_free_and_its_transaction_has_not_happened(records: Records, url: URL, then: str) -> None:
    async with records.database.writing() as connection:
        await connection.execute(insert(leases).values(name="queue_owner", owner="", epoch=1, until_ms=0))
    async with stopped(url, then) as process:
        async with records.database.writing() as connection:  # BUSY_SECONDS would be too long for whoever waits
            await asyncio.wait_for(connection.execute(update(leases).values(owner="another")), 8)
        process.send_signal(signal.SIGCONT)
        assert process.stdin is not None
        process.stdin.write(b"go on\n")
        assert await said(process) == "unavailable"
        assert await said(process) == "written again"
        assert await process.wait() == 0
    assert await owner(records) == "awake"


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
async def test_a_migration_may_take_its_time_and_what_follows_may_not(url: URL) -> None:
    asking = text("SELECT setting::int FROM pg_settings WHERE name = 'idle_in_transaction_session_timeout'")
    async with open_database(url) as database:
        async with database.writing() as connection:
            await connection.run_sync(upgrade)
            migrating = await connection.scalar(asking)
        async with database.writing() as connection:
            serving = await connection.scalar(asking)
    assert (migrating, serving) == (1000 * migrations.STANDSTILL_SECONDS, 1000 * STANDSTILL_SECONDS)
