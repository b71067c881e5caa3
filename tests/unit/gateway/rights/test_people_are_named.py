"""Rows of before have the names by which they are found now."""

from __future__ import annotations

from sqlalchemy import URL, select, text

from bowerbird.gateway.call import flow_of
from bowerbird.gateway.feedback.tables import feedback
from bowerbird.gateway.records.database import _engines, open_database
from bowerbird.gateway.records.migrations import upgrade
from bowerbird.gateway.records.people import SECRET_NAME, People
from bowerbird.gateway.records.secret import shared_secret
from bowerbird.gateway.records.tables import jobs
from bowerbird.gateway.results.table import results

from ..records.conftest import empty
from ..records.revisions import SEVENTH

assert empty.__name__  # the fixture


async def test_an_upgrade_names_whom_rows_are_about_and_lets_results_leave_that_are_nobodys(empty: URL) -> None:
    _, writer, *_ = _engines(empty)
    cached = {
        **{"id": "r1", "key": "k", "likeness": "l", "state": "ready", "pictures": 1, "bytes": 1, "digest": "d"},
        **{"facts": "{}", "cost": 1.0, "uses": 1, "credit": 1.0, "expires_ms": 1},
    }
    opinion = {**next(row for table, row in SEVENTH if table == "feedback"), "id": "fb_2", "rater": "user-4711"}
    async with writer.begin() as connection:
        await connection.run_sync(upgrade, "0007")
        for table, row in [*SEVENTH, ("results", cached), ("feedback", opinion)]:
            columns, values = ", ".join(row), ", ".join(f":{name}" for name in row)
            await connection.execute(text(f"INSERT INTO {table} ({columns}) VALUES ({values})"), row)  # noqa: S608
    await writer.dispose()
    async with open_database(empty) as database:
        people = People(await shared_secret(database, SECRET_NAME))
        async with database.reading() as connection:
            named = dict((await connection.execute(select(jobs.c.id, jobs.c.person))).all())
            raters = dict((await connection.execute(select(feedback.c.id, feedback.c.person))).all())
            states = (await connection.execute(select(results.c.state))).scalars().all()
    assert named == {"job_1": None, "job_2": people.name(flow_of("local"), "user-4711")}
    assert raters == {"fb_1": None, "fb_2": people.name(flow_of("birds"), "user-4711")}
    assert states == ["leaving"]
