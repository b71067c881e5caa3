"""A process may be killed after any statement: nothing is half, nothing is counted twice, nothing is left over."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from functools import partial
from pathlib import Path

from sqlalchemy import URL, func, select

from bowerbird.gateway.records.tables import idempotency_keys, job_events, job_pictures, jobs, usage_entries

from .conftest import DAY_SECONDS, Records

HERE = Path(__file__).parent


async def test_a_process_killed_after_any_statement_leaves_nothing_half_written(records: Records, url: URL) -> None:
    folder = records.pictures._root
    there = [url.render_as_string(False), str(folder), str(records.clock.ms)]
    command = [sys.executable, str(HERE / "dying.py"), *there]
    running = partial(subprocess.run, command, capture_output=True, text=True, check=False)
    done = await asyncio.to_thread(running)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 8

    async with records.database.reading() as connection:
        found = (await connection.execute(select(jobs))).all()
        keys = set((await connection.execute(select(idempotency_keys.c.job_id))).scalars())
        named = (await connection.execute(select(job_pictures.c.job_id, job_pictures.c.key))).all()
        counted = (await connection.execute(select(usage_entries.c.work_id))).scalars().all()
        events = select(job_events.c.job_id, func.max(job_events.c.number)).group_by(job_events.c.job_id)
        last = {row[0]: row[1] for row in (await connection.execute(events)).all()}
    assert {job.id for job in found} == keys
    succeeded = sorted(job.id for job in found if job.state == "succeeded")
    assert succeeded
    assert sorted(counted) == sorted(job_id for job_id, _ in named) == succeeded
    for job in found:
        assert job.events == last.get(job.id, 1)
        assert (job.result is not None) == (job.state == "succeeded")

    await records.retention.remove_orphans()
    files = {key async for key in records.pictures.keys("jobs/")}
    assert {key for _, key in named} <= files
    records.clock.advance(10 * DAY_SECONDS)
    for _ in range(2):  # what is unfinished expires in the first and is old in the second
        await records.retention.sweep()
        records.clock.advance(10 * DAY_SECONDS)
    await records.retention.remove_orphans()
    assert [key async for key in records.pictures.keys("jobs/")] == []
