"""What was answered is counted: also when the database cannot be written for a while, and when nobody waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import text

from bowerbird.errors import RecordsUnavailable
from bowerbird.gateway.records import usage_buffer
from bowerbird.gateway.records.usage import Usage
from bowerbird.gateway.records.usage_buffer import MAX_TOGETHER

from .conftest import Records
from .rows import TENANT, entry

WAITING, LOST = "bowerbird_usage_entries_waiting", "bowerbird_usage_entries_lost_total"
EVER = (0, 100_000)


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
async def usage(records: Records, registry: CollectorRegistry) -> AsyncIterator[Usage]:
    usage = Usage(records.database, records.writer, registry)
    async with usage.kept():
        yield usage


@asynccontextmanager
async def unwritable(records: Records) -> AsyncIterator[None]:
    """The table is not there for as long as the block runs: the database answers, and refuses."""
    await execute(records, "ALTER TABLE usage_entries RENAME TO usage_entries_away")
    try:
        yield
    finally:
        await execute(records, "ALTER TABLE usage_entries_away RENAME TO usage_entries")


async def execute(records: Records, statement: str) -> None:
    async with records.database.writing() as connection:
        await connection.execute(text(statement))


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not holds():  # noqa: ASYNC110 - what happens in the background
            await asyncio.sleep(0.02)


async def counted(records: Records) -> int:
    """How many requests the database knows, as another process sees it."""
    return sum(day.requests for day in await records.usage.read(TENANT, *EVER))


async def test_what_nobody_waited_for_is_read_all_the_same(records: Records) -> None:
    for number in range(3):
        records.usage.record_soon(entry(f"req_{number}"))
    assert await counted(records) == 3


async def test_it_is_written_at_the_end(records: Records, other: Records) -> None:
    async with records.usage.kept():
        for number in range(MAX_TOGETHER + 1):
            records.usage.record_soon(entry(f"req_{number}"))
    assert await counted(other) == MAX_TOGETHER + 1


async def test_it_is_written_while_nobody_asks(usage: Usage, other: Records) -> None:
    usage.record_soon(entry("req_1"))
    async with asyncio.timeout(60):
        while await counted(other) != 1:  # noqa: ASYNC110 - another replica
            await asyncio.sleep(0.05)


async def test_what_cannot_be_written_for_a_while_is_kept_and_written_later(
    usage: Usage, records: Records, registry: CollectorRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    async with unwritable(records):
        for number in range(8):
            usage.record_soon(entry(f"req_{number}"))
        await until(lambda: "usage cannot be written down now, and is kept" in caplog.messages)
        assert registry.get_sample_value(WAITING) == 8
        found = await usage.find(TENANT, "req_3")
        assert found == entry("req_3")
    await until(lambda: registry.get_sample_value(WAITING) == 0)
    assert await counted(records) == 8
    assert registry.get_sample_value(LOST) == 0


async def test_a_full_disk_loses_nothing(
    usage: Usage, records: Records, registry: CollectorRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    if records.database.is_postgresql:
        pytest.skip("PostgreSQL has no bound on its file; its test is the one above")
    async with records.database.writing() as connection:
        pages = await connection.scalar(text("PRAGMA page_count"))
        await connection.execute(text(f"PRAGMA max_page_count = {pages}"))  # then SQLite says what a full disk says
    for number in range(MAX_TOGETHER):
        usage.record_soon(entry(f"req_{number}"))
    await until(lambda: "usage cannot be written down now, and is kept" in caplog.messages)
    async with records.database.writing() as connection:
        await connection.execute(text("PRAGMA max_page_count = 1000000"))
    await until(lambda: registry.get_sample_value(WAITING) == 0)
    assert await counted(records) == MAX_TOGETHER


async def test_sums_are_not_told_while_something_is_missing_from_them(usage: Usage, records: Records) -> None:
    async with unwritable(records):
        usage.record_soon(entry("req_1"))
        with pytest.raises(RecordsUnavailable):
            await usage.read(TENANT, *EVER)


async def test_a_reader_that_hangs_up_takes_nothing_with_it(usage: Usage, records: Records, other: Records) -> None:
    async with records.database.writing():  # nobody else writes meanwhile
        usage.record_soon(entry("req_1"))
        reading = asyncio.create_task(usage.read(TENANT, *EVER))
        await asyncio.sleep(0.05)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
    async with asyncio.timeout(60):
        while await counted(other) != 1:  # noqa: ASYNC110 - another replica
            await asyncio.sleep(0.05)


async def test_beyond_the_bound_the_oldest_is_lost_counted_and_said(
    usage: Usage,
    records: Records,
    registry: CollectorRegistry,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(usage_buffer, "MAX_WAITING", 3)
    for number in range(5):
        usage.record_soon(entry(f"req_{number}"))
    assert (registry.get_sample_value(WAITING), registry.get_sample_value(LOST)) == (3, 2)
    said = [record.work_id for record in caplog.records if record.message == "usage was not written down"]  # type: ignore[attr-defined]
    assert said == ["req_0", "req_1"]
    await usage.read(TENANT, *EVER)
    assert await counted(records) == 3


async def test_an_entry_that_is_refused_holds_no_other_up(
    usage: Usage, records: Records, registry: CollectorRegistry
) -> None:
    usage.record_soon(entry("req_1"))
    usage.record_soon(entry("req_2", variant=None))
    usage.record_soon(entry("req_3"))
    await usage.read(TENANT, *EVER)
    assert await counted(records) == 2
    assert registry.get_sample_value(LOST) == 1


async def test_what_a_stopping_process_cannot_write_is_counted_and_said(
    records: Records,
    registry: CollectorRegistry,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(usage_buffer, "STOP_SECONDS", 0.2)
    usage = Usage(records.database, records.writer, registry)
    async with unwritable(records):
        async with usage.kept():
            usage.record_soon(entry("req_1"))
        assert (registry.get_sample_value(WAITING), registry.get_sample_value(LOST)) == (0, 1)
        assert "usage was not written down" in caplog.messages
