"""What is old is gone, and nothing is left that belongs to nothing."""

from __future__ import annotations

import asyncio

from sqlalchemy import func, select

from bowerbird.gateway.records.job import Claim, PutBack
from bowerbird.gateway.records.retention import picture_key
from bowerbird.gateway.records.tables import idempotency_keys, job_events, job_pictures, jobs

from .conftest import DAY_SECONDS, NOON_MS, Records
from .rows import LEASE_SECONDS, TENANT, keyed, new_job, success


async def rows(records: Records) -> list[int]:
    """How many jobs, events, pictures and keys there are."""
    async with records.database.reading() as connection:
        tables = (jobs, job_events, job_pictures, idempotency_keys)
        return [await connection.scalar(select(func.count()).select_from(table)) or 0 for table in tables]


async def files(records: Records) -> list[str]:
    return sorted([key async for key in records.pictures.keys("jobs/")])


async def finished(records: Records, key: str) -> Claim:
    """A job that was submitted under a key, drawn and stored."""
    await records.jobs.submit(new_job(), keyed(key))
    (claim,) = await records.claims.claim(1, LEASE_SECONDS)
    ending = success(claim, pictures=2)
    for picture in ending.pictures:
        await records.pictures.put(picture.key, b"abc")
    assert await records.claims.finish(claim, ending)
    return claim


async def test_a_finished_job_is_kept_a_day_and_then_gone_with_all_that_belongs_to_it(records: Records) -> None:
    await finished(records, "old")
    records.clock.advance(DAY_SECONDS / 2)
    young = await finished(records, "young")
    records.clock.advance(DAY_SECONDS / 2 - 0.001)
    swept = await records.retention.sweep()
    assert (swept.jobs, swept.files) == (0, 0)
    records.clock.advance(0.001)
    swept = await records.retention.sweep()
    assert (swept.jobs, swept.files) == (1, 2)
    assert await rows(records) == [1, 2, 2, 1]
    assert await files(records) == [picture_key(young.job_id, 1, number) for number in range(2)]
    assert len(await records.usage.read(TENANT, 0, 100_000)) == 2  # usage outlives its jobs
    records.clock.advance(DAY_SECONDS)
    await records.retention.sweep()
    assert await rows(records) == [0, 0, 0, 0]
    assert await files(records) == []


async def test_sweeping_keeps_every_file_that_a_writer_may_still_name(records: Records) -> None:
    await records.jobs.submit(new_job())
    (claim,) = await records.claims.claim(1, LEASE_SECONDS)
    key = picture_key(claim.job_id, claim.epoch, 0)
    await records.pictures.put(key, b"abc")
    records.clock.advance(LEASE_SECONDS * 2)  # not renewed, but nobody took it over: the claim is still valid
    await records.retention.sweep()
    await records.retention.remove_orphans()
    assert await files(records) == [key]
    assert await records.claims.finish(claim, success(claim))
    await records.retention.remove_orphans()
    assert await files(records) == [key]


async def test_files_of_claims_that_came_to_nothing_are_orphans_and_go(records: Records, other: Records) -> None:
    for _ in range(4):
        await records.jobs.submit(new_job())
    claims = await records.claims.claim(4, LEASE_SECONDS)
    for claim in claims:
        await records.pictures.put(picture_key(claim.job_id, claim.epoch, 0), b"abc")
    cancelled, overtaken, put_back, kept = claims
    await records.jobs.cancel(TENANT, cancelled.job_id)
    records.clock.advance(LEASE_SECONDS - 1)
    await records.claims.renew([put_back, kept], LEASE_SECONDS)
    records.clock.advance(1)
    (taken,) = await other.claims.claim(4, LEASE_SECONDS)
    assert taken.job_id == overtaken.job_id
    await records.claims.finish(put_back, PutBack("stage_unavailable"))
    await records.pictures.put("jobs/job_that_never_was/1-0", b"abc")
    await records.pictures.put("jobs/foreign.txt", b"not ours")
    assert await records.retention.remove_orphans() == 3
    remaining = [picture_key(put_back.job_id, 1, 0), picture_key(kept.job_id, 1, 0), "jobs/foreign.txt"]
    assert await files(records) == sorted(remaining)
    (again,) = await records.claims.claim(1, LEASE_SECONDS)
    assert again.job_id == put_back.job_id
    assert await records.retention.remove_orphans() == 1


async def test_a_crash_between_rows_and_files_is_made_good_by_the_next_look_at_the_files(records: Records) -> None:
    await finished(records, "old")
    records.clock.advance(DAY_SECONDS)
    await records.retention._remove_jobs()  # and then the process was killed
    assert len(await files(records)) == 2
    assert await records.retention.remove_orphans() == 2
    assert await files(records) == []


async def test_two_sweeps_at_once_remove_everything_once(records: Records, other: Records) -> None:
    for number in range(5):
        await finished(records, f"key-{number}")
    await records.jobs.submit(new_job(lifetime_seconds=10.0))
    records.clock.advance(DAY_SECONDS)
    both = await asyncio.gather(records.retention.sweep(), other.retention.sweep())
    assert sum(swept.jobs for swept in both) == 5
    assert sum(swept.expired for swept in both) == 1
    assert await rows(records) == [1, 1, 0, 0]


async def test_a_job_that_nobody_could_do_in_a_day_expires_and_says_so(records: Records) -> None:
    job = new_job()
    await records.jobs.submit(job)
    records.clock.advance(DAY_SECONDS)
    assert (await records.retention.sweep()).expired == 1
    assert (await records.jobs.get(TENANT, job.id)).finished_ms == NOON_MS + DAY_SECONDS * 1000
    assert [event.kind for event in await records.events.read(job.id, 0)] == ["queued", "expired"]
