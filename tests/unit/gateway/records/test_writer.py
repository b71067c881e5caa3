"""Group commit: one commit for all who wait, and everybody's own outcome."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from bowerbird.errors import JobUnknown, RecordsUnavailable
from bowerbird.gateway.records.database import Database, database_url, open_database
from bowerbird.gateway.records.tables import leases
from bowerbird.gateway.records.writer import MAX_WAITING, Writer

from .conftest import Records


class Names:
    """A write: takes names into the table of leases; remembers how many came at once."""

    def __init__(self) -> None:
        self.groups: list[int] = []

    async def insert(self, connection: AsyncConnection, names: Sequence[str]) -> list[str]:
        self.groups.append(len(names))
        rows = [{"name": name, "owner": "", "epoch": 1, "until_ms": 0} for name in names]
        if "bug" in names:
            raise ZeroDivisionError("a bug")
        if "refused" in names:
            raise JobUnknown("no")
        await connection.execute(leases.insert(), rows)
        return [name.upper() for name in names]


async def count(database: Database) -> int:
    async with database.reading() as connection:
        return await connection.scalar(select(func.count()).select_from(leases)) or 0


async def test_writes_that_wait_together_are_committed_together_each_with_its_outcome(records: Records) -> None:
    names = Names()
    outcomes = await asyncio.gather(*(records.writer.submit(names.insert, f"name-{n}") for n in range(300)))
    assert outcomes == [f"NAME-{n}" for n in range(300)]
    assert await count(records.database) == 300
    assert names.groups == [300]


async def test_a_group_waits_for_the_disk_if_one_of_it_has_to(tmp_path: Path) -> None:
    async def level(connection: AsyncConnection, items: Sequence[str]) -> list[object]:
        return [(await connection.exec_driver_sql("PRAGMA synchronous")).scalar()] * len(items)

    full, normal = 2, 1
    async with open_database(database_url(None, tmp_path)) as database:
        writer = Writer(database)
        async with writer.running():
            passing = [writer.submit(level, "it", lasting=False) for _ in range(3)]
            assert await asyncio.gather(*passing) == [normal] * 3
            mixed = [writer.submit(level, "it", lasting=lasting) for lasting in (False, True, False)]
            assert await asyncio.gather(*mixed) == [full] * 3


async def test_a_patient_write_goes_with_the_next_one_and_before_it(tmp_path: Path) -> None:
    groups: list[list[str]] = []

    async def told(connection: AsyncConnection, items: Sequence[str]) -> list[None]:
        groups.append([*items])
        return [None] * len(items)

    async def ended(connection: AsyncConnection, items: Sequence[str]) -> list[None]:
        return await told(connection, items)

    async with open_database(database_url(None, tmp_path)) as database:
        writer = Writer(database)
        async with writer.running():
            phase = asyncio.create_task(writer.submit(told, "phase", patient=True))
            await asyncio.gather(writer.submit(ended, "end"), writer.submit(told, "last phase", patient=True))
            assert phase.done()
            assert groups == [["phase", "last phase"], ["end"]]
            assert database.commits == 2, "the migration, and all three"
            await writer.submit(told, "alone", patient=True)
    assert groups[-1] == ["alone"]


async def test_an_item_that_breaks_a_constraint_breaks_only_itself(records: Records) -> None:
    names = Names()
    wanted = ["a", "b", "a", "c", "x" * 65 + "\x00", "refused"]
    outcomes = await asyncio.gather(
        *(records.writer.submit(names.insert, name) for name in wanted), return_exceptions=True
    )
    assert outcomes[:2] == ["A", "B"]
    assert isinstance(outcomes[2], IntegrityError)
    assert outcomes[3] == "C"
    assert isinstance(outcomes[5], JobUnknown)


async def test_a_bug_in_one_write_does_not_end_the_writer(records: Records) -> None:
    names = Names()
    with pytest.raises(ZeroDivisionError):
        await records.writer.submit(names.insert, "bug")
    assert await records.writer.submit(names.insert, "fine") == "FINE"


async def test_who_gave_up_before_the_commit_began_is_not_written(records: Records) -> None:
    names = Names()
    giving_up = asyncio.create_task(records.writer.submit(names.insert, "given-up"))
    await asyncio.sleep(0)
    giving_up.cancel()
    await records.writer.submit(names.insert, "kept")
    assert await count(records.database) == 1


async def test_what_waits_when_the_writer_stops_is_committed_and_nothing_after_it(records: Records) -> None:
    names, writer = Names(), Writer(records.database)
    async with writer.running():
        waiting = [asyncio.create_task(writer.submit(names.insert, f"name-{n}")) for n in range(50)]
        await asyncio.sleep(0)
    assert len(await asyncio.gather(*waiting)) == 50
    with pytest.raises(RecordsUnavailable):
        await writer.submit(names.insert, "late")
    assert await count(records.database) == 50


async def test_more_than_may_wait_is_refused_at_once(records: Records) -> None:
    names, stopped = Names(), Writer(records.database)
    waiting = [asyncio.create_task(stopped.submit(names.insert, f"name-{n}")) for n in range(MAX_WAITING)]
    await asyncio.sleep(0)
    with pytest.raises(RecordsUnavailable):
        await stopped.submit(names.insert, "one too many")
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
