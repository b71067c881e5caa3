"""`Database.rows`, by which requests read: as true as any other way, and nobody's hang-up is somebody else's fault."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import Integer, bindparam, func, insert, literal_column, select, text, update

from bowerbird.errors import RecordsUnavailable
from bowerbird.gateway.records.tables import leases

from .conftest import Records

COUNT = select(func.count()).select_from(leases)


async def add(records: Records, name: str) -> None:
    async with records.database.writing() as connection:
        await connection.execute(insert(leases).values(name=name, owner="", epoch=1, until_ms=0))


async def test_what_was_committed_is_seen_at_once_and_nothing_else(records: Records, other: Records) -> None:
    for number in range(3):
        assert (await other.database.rows(COUNT))[0][0] == number
        async with records.database.writing() as connection:
            await connection.execute(insert(leases).values(name=f"{number}", owner="", epoch=1, until_ms=0))
            assert (await records.database.rows(COUNT))[0][0] == number


async def test_readers_that_hang_up_leave_nothing_behind(records: Records) -> None:
    for _ in range(5):
        reading = [asyncio.create_task(records.database.rows(COUNT)) for _ in range(20)]
        await asyncio.sleep(0)
        for each in reading:
            each.cancel()
        await asyncio.gather(*reading, return_exceptions=True)
    await add(records, "after")
    assert (await records.database.rows(COUNT))[0][0] == 1


async def test_what_cannot_be_read_is_said_as_any_other_failure(records: Records) -> None:
    with pytest.raises(RecordsUnavailable):
        await records.database.rows(select(literal_column("1")).select_from(text("no_such_table")))
    assert (await records.database.rows(COUNT))[0][0] == 0


async def test_a_row_read_on_the_spot_is_the_row_as_committed(records: Records, other: Records) -> None:
    point = records.database.point_read(select(leases).where(leases.c.name == bindparam("name")))
    assert (point is None) is records.database.is_postgresql
    if point is None:
        return
    assert point.row("a") is None
    await add(other, "a")
    assert point.row("a") == {"name": "a", "owner": "", "epoch": 1, "until_ms": 0, "address": None}
    async with other.database.writing() as connection:
        await connection.execute(update(leases).values(owner="somebody"))
        found = point.row("a")  # it waits for no writer
        assert found is not None
        assert found["owner"] == ""
    assert (point.row("a") or {})["owner"] == "somebody"
    assert await records.database.rewrite(["leases"])  # nothing is left open behind it
    point.close()
    assert (point.row("a") or {})["owner"] == "somebody"


async def test_what_cannot_be_read_on_the_spot_is_left_to_the_ordinary_way(records: Records) -> None:
    name = literal_column("1", Integer).label("name")
    missing = select(name).select_from(text("no_such_table")).where(text("name = ?"))
    if (point := records.database.point_read(missing)) is not None:
        assert point.row("a") is None
