"""What is said of a job is what its row says, however often it is asked."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import URL

from bowerbird.contracts import WorkClass
from bowerbird.errors import BowerbirdError
from bowerbird.gateway.admission.ticket import Place
from bowerbird.gateway.hot import statuses as module
from bowerbird.gateway.hot.statuses import Statuses
from bowerbird.gateway.jobs.carrying import Progress
from bowerbird.gateway.records.claims import Claims
from bowerbird.gateway.records.database import Database, open_database
from bowerbird.gateway.records.idempotency import IdempotencyKeys
from bowerbird.gateway.records.job import Job, JobState, NewJob
from bowerbird.gateway.records.jobs import Jobs
from bowerbird.gateway.records.writer import Writer


@pytest.fixture
async def database(url: URL) -> AsyncIterator[Database]:
    async with open_database(url) as opened:
        yield opened


@pytest.fixture
async def jobs(database: Database) -> AsyncIterator[Jobs]:
    writer = Writer(database)
    async with writer.running():
        yield Jobs(database, writer, IdempotencyKeys(database, writer), b"c" * 32)


def carries_nothing(_: str) -> Progress | None:
    return None


async def asked(statuses: Statuses, jobs: Jobs, job_id: str = "job_1") -> tuple[JobState, bool]:
    """The job's state, and whether it was remembered."""
    if (said := statuses.find("birds", job_id)) is not None:
        return said[0].state, True
    job: Job = await jobs.get("birds", job_id)
    statuses.keep(job, b"")
    return job.state, False


def new(job_id: str) -> NewJob:
    return NewJob(job_id, "birds", WorkClass.INTERACTIVE, "{}", 1.0, 60.0)


async def test_it_is_read_again_as_soon_as_anything_was_written(database: Database, jobs: Jobs) -> None:
    statuses, remembers = Statuses(database, carries_nothing), not database.is_postgresql
    await jobs.submit(new("job_1"))
    assert [await asked(statuses, jobs) for _ in range(3)][1:] == [(JobState.QUEUED, remembers)] * 2
    await jobs.cancel("birds", "job_1")
    assert [await asked(statuses, jobs) for _ in range(2)] == [
        (JobState.CANCELLED, False),
        (JobState.CANCELLED, remembers),
    ]
    assert statuses.find("cats", "job_1") is None
    await jobs.submit(new("job_2"))
    assert await asked(statuses, jobs) == (JobState.CANCELLED, False)


async def test_it_is_not_believed_for_long_nor_kept_without_bound(
    database: Database, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_SAID", 2)
    statuses = Statuses(database, carries_nothing)
    for number in range(5):
        await jobs.submit(new(f"job_{number}"))
    for number in range(5):
        await asked(statuses, jobs, f"job_{number}")
    assert len(statuses._said) <= 2
    monkeypatch.setattr(module, "BELIEVED_SECONDS", 0.0)
    await jobs.submit(new("job_9"))
    assert [await asked(statuses, jobs) for _ in range(2)] == [(JobState.QUEUED, False)] * 2


async def test_what_was_written_while_it_was_read_is_not_missed(database: Database, jobs: Jobs) -> None:
    statuses = Statuses(database, carries_nothing)
    await jobs.submit(new("job_1"))
    assert statuses.find("birds", "job_1") is None
    before = await jobs.get("birds", "job_1")
    await jobs.cancel("birds", "job_1")
    statuses.keep(before, b"")
    assert await asked(statuses, jobs) == (JobState.CANCELLED, False)
    with pytest.raises(BowerbirdError):
        await asked(statuses, jobs, "job_0")


async def test_of_a_job_that_is_carried_here_it_is_believed_until_it_moves_on(database: Database, jobs: Jobs) -> None:
    if database.is_postgresql:
        return  # nothing is kept there
    carried = Progress()
    statuses = Statuses(database, {"job_1": carried}.get)
    await jobs.submit(new("job_1"))
    await Claims(database, jobs._writer, "this replica").claim(1, lease_seconds=60.0)
    told = [await asked(statuses, jobs) for _ in range(2)]
    carried.place = Place(position=2, eta_seconds=None)
    told += [await asked(statuses, jobs) for _ in range(2)]
    carried.phase = "draw"
    told += [await asked(statuses, jobs) for _ in range(2)]
    assert told == [(JobState.RUNNING, False), (JobState.RUNNING, True)] * 3
