"""What a job that waits is told of those before it is what the claims then do."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from bowerbird.contracts import WorkClass
from bowerbird.gateway.jobs import line as module
from bowerbird.gateway.jobs.line import Line
from bowerbird.gateway.records.claim_order import ClaimOrder, asking_older
from bowerbird.gateway.records.job import Job, JobKind, PutBack

from .conftest import Records
from .rows import LEASE_SECONDS, TENANT, new_job


async def submitted(records: Records, tenant: str, count: int, **changes: object) -> list[Job]:
    """New jobs, two of them in each millisecond, in the order in which they are claimed."""
    jobs = []
    for number in range(count):
        new = new_job(tenant=tenant, **changes)
        await records.jobs.submit(new)
        records.clock.advance(0.001 * (number % 2))
        jobs.append(await records.jobs.get(tenant, new.id))
    records.clock.advance(0.001)
    return sorted(jobs, key=lambda job: (job.created_ms, job.id))


@pytest.fixture
def line(records: Records) -> Line:
    return Line(ClaimOrder(records.database))


async def test_jobs_are_claimed_in_the_order_of_what_is_told_to_be_before_them(records: Records, line: Line) -> None:
    jobs = await submitted(records, "flood", 9, cost=3.0)
    jobs += await submitted(records, "quiet", 3, cost=1.0)
    jobs += await submitted(records, "quiet", 2, cost=5.0, work_class=WorkClass.BATCH)
    await records.claims.claim(2, LEASE_SECONDS)
    waiting = [job for job in jobs if (await records.jobs.get(job.tenant, job.id)).state == "queued"]
    ahead = {job.id: (await line.before(job)).ahead for job in waiting}
    places = {job_id: each.count + each.others for job_id, each in ahead.items()}
    assert sorted(places.values()) == list(range(len(waiting)))
    last = max(places, key=places.__getitem__)
    assert ahead[last].units + ahead[last].others_units == pytest.approx(
        sum(job.cost for job in waiting if job.id != last)
    )
    for count in (1, 4, 7):
        claims = await records.claims.claim(count, LEASE_SECONDS)
        assert {places.pop(claim.job_id) for claim in claims} == set(range(count))
        for claim in claims:
            await records.claims.finish(claim, PutBack("", rest_seconds=3600.0))
        places = {job_id: place - count for job_id, place in places.items()}


async def test_clips_and_pictures_wait_in_lines_of_their_own(records: Records, line: Line) -> None:
    [picture] = await submitted(records, TENANT, 1)
    [clip] = await submitted(records, TENANT, 1, id="video_0123456789abcdef01234567")
    [later] = await submitted(records, TENANT, 1)
    ahead = [(await line.before(job)).ahead for job in (picture, clip, later)]
    assert [each.count + each.others for each in ahead] == [0, 0, 1]


async def test_what_rests_is_before_nobody_and_its_rest_is_told(records: Records, line: Line) -> None:
    first, second = await submitted(records, TENANT, 2)
    [claim] = await records.claims.claim(1, LEASE_SECONDS)
    assert claim.job_id == first.id
    await records.claims.finish(claim, PutBack("stage_unavailable", rest_seconds=30.0))
    assert (await line.before(second)).ahead.count == 0
    rests = await line.before(first)
    assert (rests.ahead.count, rests.rest_seconds) == (0, 30.0)


@pytest.mark.parametrize("order", [1, -1])
async def test_what_is_counted_from_the_last_job_that_was_asked_about_is_what_is_counted_at_once(
    records: Records, line: Line, order: int
) -> None:
    jobs = (await submitted(records, TENANT, 11))[::order]
    told = [(await line.before(job)).ahead for job in (*jobs, *jobs)]
    assert [each.count for each in told] == [*range(11)[::order]] * 2
    assert [each.units for each in told] == [2.5 * each.count for each in told]


async def test_what_was_found_is_believed_for_a_second(
    records: Records, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TRUSTED_SECONDS", 3600.0)
    first, second = await submitted(records, TENANT, 2)
    assert (await line.before(second)).ahead.count == 1
    await records.jobs.cancel(TENANT, first.id)
    assert (await line.before(second)).ahead.count == 1
    monkeypatch.setattr(module, "TRUSTED_SECONDS", 0.0)
    line = Line(ClaimOrder(records.database))
    assert (await line.before(second)).ahead.count == 0


async def test_the_line_is_searched_by_an_index(records: Records) -> None:
    """However many jobs have ended."""
    if records.database.is_postgresql:
        return  # it chooses by what the table holds
    given = {"of_tenant": TENANT, "of_class": "interactive", "of_job": "x", "since": 0, "since_job": "", "until": 1}
    asking = asking_older(records.database.now(), JobKind.PICTURES).params(given)
    async with records.database.reading() as connection:
        sql = asking.compile(dialect=connection.dialect, compile_kwargs={"literal_binds": True})
        plan = [row[-1] for row in (await connection.execute(text(f"EXPLAIN QUERY PLAN {sql}"))).all()]
    assert "ix_jobs_claim (state=? AND tenant=? AND work_class=? AND created_ms>? AND created_ms<?)" in plan[0]
    assert not any("SCAN jobs" in each for each in plan)


async def test_the_phase_of_a_job_is_that_of_its_last_event(records: Records) -> None:
    [job] = await submitted(records, TENANT, 1)
    assert await records.events.last_phase(job.id) is None
    [claim] = await records.claims.claim(1, LEASE_SECONDS)
    assert await records.events.last_phase(job.id) == "waiting"
    await records.events.note(claim, "phase", {"phase": "draw"})
    assert await records.events.last_phase(job.id) == "draw"
    await records.claims.finish(claim, PutBack(""))
    assert await records.events.last_phase(job.id) is None
    await records.claims.claim(1, LEASE_SECONDS)
    assert await records.events.last_phase(job.id) == "waiting"
