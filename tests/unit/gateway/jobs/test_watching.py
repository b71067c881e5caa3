"""Listeners hear of a job's news wherever it is made, and cost one query a second together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import event

from bowerbird.gateway.jobs.watching import JobWatch
from bowerbird.gateway.records.opening import Records, open_records
from bowerbird.settings import Settings

from ..records.rows import TENANT, new_job

SOON = 5.0


@pytest.fixture
async def records(tmp_path: Path) -> AsyncIterator[Records]:
    async with open_records(Settings(home=tmp_path)) as opened:
        yield opened


async def test_news_made_here_wakes_at_once_and_only_those_of_that_job(records: Records) -> None:
    watch = JobWatch(records.events)
    first, second = (asyncio.create_task(watch.wait(job, 1, 0.2)) for job in ("job_1", "job_2"))
    await asyncio.sleep(0)
    watch.notify("job_1")
    assert await first
    assert not await second


async def test_news_of_another_replica_wakes_too(records: Records) -> None:
    job = new_job()
    await records.jobs.submit(job)
    watch = JobWatch(records.events)
    async with watch.running():
        listening = asyncio.create_task(watch.wait(job.id, 1, SOON))
        await records.jobs.cancel(TENANT, job.id)
        assert await listening


async def test_nothing_new_wakes_nobody(records: Records) -> None:
    job = new_job()
    await records.jobs.submit(job)
    watch = JobWatch(records.events)
    async with watch.running():
        assert not await watch.wait(job.id, 1, 1.5)


async def test_a_job_that_is_gone_is_news(records: Records) -> None:
    watch = JobWatch(records.events)
    async with watch.running():
        assert await watch.wait("job_gone", 7, SOON)


async def test_many_listeners_are_one_query(records: Records) -> None:
    jobs = [new_job() for _ in range(200)]
    await asyncio.gather(*(records.jobs.submit(job) for job in jobs))
    queries: list[str] = []
    engine = records.database._reader.sync_engine
    event.listen(engine, "after_cursor_execute", lambda *said: queries.append(said[2]))
    watch = JobWatch(records.events)
    async with watch.running():
        waited = await asyncio.gather(*(watch.wait(job.id, 1, 1.5) for job in jobs for _ in range(3)))
    assert not any(waited)
    assert len([query for query in queries if "SELECT" in query]) <= 2
