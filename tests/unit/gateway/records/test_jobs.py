"""Jobs as callers see them."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import URL

from bowerbird.contracts import WorkClass
from bowerbird.errors import JobFinished, JobUnknown, RequestInvalid
from bowerbird.gateway.records.job import JobState
from bowerbird.gateway.records.jobs import CHANNEL
from bowerbird.gateway.records.listening import Listener

from .conftest import NOON_MS, Records
from .rows import LEASE_SECONDS, TENANT, new_job, success


async def test_a_submitted_job_is_there_as_it_was_submitted(records: Records) -> None:
    job = new_job(work_class=WorkClass.BATCH, request='{"prompt": "a robin \\u0000 \\ud83d\\udc26"}')
    await records.jobs.submit(job)
    found = await records.jobs.get(TENANT, job.id)
    assert (found.id, found.tenant, found.work_class, found.request) == (job.id, TENANT, WorkClass.BATCH, job.request)
    assert (found.state, found.cost, found.attempts, found.events) == (JobState.QUEUED, 2.5, 0, 1)
    assert (found.created_ms, found.expires_ms, found.finished_ms) == (NOON_MS, NOON_MS + 86_400_000, None)


async def test_many_jobs_submitted_at_once_are_all_there(records: Records, other: Records) -> None:
    jobs = [new_job(tenant=f"tenant-{number % 7}") for number in range(400)]
    await asyncio.gather(*([records, other][number % 2].jobs.submit(job) for number, job in enumerate(jobs)))
    found = [await other.jobs.get(job.tenant, job.id) for job in jobs[::20]]
    assert [job.id for job in found] == [job.id for job in jobs[::20]]
    assert await records.jobs.queued() == 400
    assert await records.jobs.queued("tenant-0") == 58


async def test_a_job_of_another_tenant_is_unknown_whatever_is_asked(records: Records) -> None:
    job = new_job()
    await records.jobs.submit(job)
    with pytest.raises(JobUnknown):
        await records.jobs.get("another", job.id)
    with pytest.raises(JobUnknown):
        await records.jobs.cancel("another", job.id)
    assert (await records.jobs.page("another", 10)).jobs == []
    assert (await records.jobs.get(TENANT, job.id)).state is JobState.QUEUED


@pytest.mark.parametrize("job_id", ["", "job_unknown", "\x00", "é", "x" * 1_000, "' OR 1=1 --"])
async def test_an_id_that_is_none_is_unknown_to_every_database(records: Records, job_id: str) -> None:
    known = new_job()
    await records.jobs.submit(known)
    asked = await asyncio.gather(
        records.jobs.get(TENANT, known.id), records.jobs.get(TENANT, job_id), return_exceptions=True
    )
    assert isinstance(asked[1], JobUnknown)
    assert not isinstance(asked[0], BaseException)
    with pytest.raises(JobUnknown):
        await records.jobs.cancel(TENANT, job_id)


async def test_many_questions_at_once_are_answered_each_with_its_own_and_with_what_is_newest(
    records: Records, other: Records
) -> None:
    jobs = [new_job(tenant=f"tenant-{number % 5}") for number in range(100)]
    await asyncio.gather(*(records.jobs.submit(job) for job in jobs))
    asked = await asyncio.gather(*(records.jobs.get(job.tenant, job.id) for job in jobs for _ in range(3)))
    assert [job.id for job in asked] == [job.id for job in jobs for _ in range(3)]
    for job in jobs[:10]:
        await other.jobs.cancel(job.tenant, job.id)
        assert (await records.jobs.get(job.tenant, job.id)).state is JobState.CANCELLED


async def test_pages_show_every_job_once_newest_first_also_those_of_one_moment(records: Records) -> None:
    submitted = []
    for _ in range(4):
        submitted += [new_job() for _ in range(3)]
        await asyncio.gather(*(records.jobs.submit(job) for job in submitted[-3:]))
        records.clock.advance(0.001)
    await records.jobs.submit(new_job(tenant="another"))
    shown, cursor = [], None
    for _ in range(5):
        page = await records.jobs.page(TENANT, 5, cursor)
        shown += [(job.created_ms, job.id) for job in page.jobs]
        cursor = page.next_cursor
        if cursor is None:
            break
        await records.jobs.submit(new_job())  # newer than all: no page after the first shows it
    assert cursor is None
    assert shown == sorted(shown, reverse=True)
    assert sorted(id for _, id in shown) == sorted(job.id for job in submitted)


async def test_a_page_that_ends_with_the_last_job_has_no_next(records: Records) -> None:
    await asyncio.gather(*(records.jobs.submit(new_job()) for _ in range(5)))
    assert (await records.jobs.page(TENANT, 5)).next_cursor is None


async def test_a_cursor_that_was_tampered_with_or_is_another_tenants_is_refused(records: Records) -> None:
    for tenant in (TENANT, "another"):
        await asyncio.gather(*(records.jobs.submit(new_job(tenant=tenant)) for _ in range(2)))
    cursor = (await records.jobs.page(TENANT, 1)).next_cursor
    assert cursor is not None
    assert len((await records.jobs.page(TENANT, 1, cursor)).jobs) == 1
    foreign = (await records.jobs.page("another", 1)).next_cursor
    flipped = [cursor[:place] + chr(ord(cursor[place]) ^ 1) + cursor[place + 1 :] for place in range(len(cursor))]
    for bad in [foreign, "", "x", "é" * 50, cursor + "A", cursor[:-4], *flipped]:
        if bad is not None and bad.rstrip("=") != cursor:
            with pytest.raises(RequestInvalid) as refused:
                await records.jobs.page(TENANT, 1, bad)
            assert refused.value.param == "after"


async def test_a_queued_job_is_cancelled_at_once(records: Records) -> None:
    job = new_job()
    await records.jobs.submit(job)
    cancelled = await records.jobs.cancel(TENANT, job.id)
    assert (cancelled.state, cancelled.finished_ms) == (JobState.CANCELLED, NOON_MS)
    assert await records.claims.claim(10, LEASE_SECONDS) == []
    assert [event.kind for event in await records.events.read(job.id, 0)] == ["queued", "cancelled"]


async def test_a_cancel_makes_the_running_claim_void(records: Records, other: Records) -> None:
    job = new_job()
    await records.jobs.submit(job)
    (claim,) = await records.claims.claim(1, LEASE_SECONDS)
    await other.jobs.cancel(TENANT, job.id)
    assert await records.claims.renew([claim], LEASE_SECONDS) == set()
    assert not await records.events.note(claim, "phase", {"phase": "draw"})
    assert not await records.claims.finish(claim, success(claim))
    assert (await records.jobs.get(TENANT, job.id)).state is JobState.CANCELLED
    assert await records.jobs.pictures(job.id) == []
    assert await records.usage.read(TENANT, 0, 100_000) == []


async def test_whoever_listens_hears_that_a_job_was_ended_before_its_time(records: Records, url: URL) -> None:
    if not records.database.is_postgresql:
        pytest.skip("SQLite has one process, and nobody to tell")
    heard = asyncio.Event()
    async with asyncio.timeout(60), Listener(lambda: url).listening(CHANNEL, heard.set):
        await heard.wait()  # it listens
        for end in (records.jobs.cancel, records.jobs.remove):
            heard.clear()
            job = new_job()
            await records.jobs.submit(job)
            assert not heard.is_set()
            await end(TENANT, job.id)
            await heard.wait()


async def test_a_finished_job_cannot_be_cancelled_and_says_how_it_ended(records: Records) -> None:
    job = new_job()
    await records.jobs.submit(job)
    (claim,) = await records.claims.claim(1, LEASE_SECONDS)
    assert await records.claims.finish(claim, success(claim))
    with pytest.raises(JobFinished) as refused:
        await records.jobs.cancel(TENANT, job.id)
    assert refused.value.details == {"state": "succeeded"}
    assert (await records.jobs.get(TENANT, job.id)).state is JobState.SUCCEEDED


async def test_a_cancel_and_a_finish_at_once_leave_one_ending(records: Records, other: Records) -> None:
    jobs = [new_job() for _ in range(20)]
    await asyncio.gather(*(records.jobs.submit(job) for job in jobs))
    claims = await records.claims.claim(20, LEASE_SECONDS)
    finishing = [records.claims.finish(claim, success(claim)) for claim in claims]
    cancelling = [other.jobs.cancel(TENANT, claim.job_id) for claim in claims]
    finished, cancelled = await asyncio.gather(
        asyncio.gather(*finishing), asyncio.gather(*cancelling, return_exceptions=True)
    )
    for claim, by_finish, by_cancel in zip(claims, finished, cancelled, strict=True):
        assert by_finish == isinstance(by_cancel, JobFinished)
        ending = [event.kind for event in await records.events.read(claim.job_id, 2)]
        assert ending == ["succeeded" if by_finish else "cancelled"]
