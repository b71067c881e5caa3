"""Who carries a job out, and who may end it."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from bowerbird.contracts import WorkClass
from bowerbird.errors import DrawingFailed, error_body
from bowerbird.gateway.records.job import MAX_OWN_FAILURES, Claim, Failure, JobState, PutBack

from .conftest import NOON_MS, Records
from .rows import LEASE_SECONDS, MODEL_DIGEST, TENANT, new_job, success

TODAY = NOON_MS // 86_400_000


async def submit(records: Records, count: int, **changes: object) -> list[str]:
    """The ids of new jobs, each a millisecond after the one before."""
    ids = []
    for _ in range(count):
        job = new_job(**changes)
        await records.jobs.submit(job)
        records.clock.advance(0.001)
        ids.append(job.id)
    return ids


async def claim_one(records: Records) -> Claim:
    (claim,) = await records.claims.claim(1, LEASE_SECONDS)
    return claim


async def test_a_job_is_claimed_once_by_however_many_replicas(records: Records, other: Records) -> None:
    ids = await submit(records, 30)
    claims = await asyncio.gather(*([records, other][turn % 2].claims.claim(4, LEASE_SECONDS) for turn in range(16)))
    claimed = [claim.job_id for some in claims for claim in some]
    assert Counter(claimed).most_common(1)[0][1] == 1
    rest = [claim.job_id for _ in range(8) for claim in await records.claims.claim(4, LEASE_SECONDS)]
    assert sorted(claimed + rest) == sorted(ids)


async def test_a_claim_carries_what_is_needed_to_do_the_job(records: Records) -> None:
    job = new_job(work_class=WorkClass.BATCH, traceparent="00-" + "1" * 32 + "-" + "2" * 16 + "-01")
    await records.jobs.submit(job)
    records.clock.advance(400)
    claim = await claim_one(records)
    assert (claim.job_id, claim.tenant, claim.work_class, claim.request) == (
        job.id,
        TENANT,
        job.work_class,
        job.request,
    )
    assert (claim.cost, claim.traceparent, claim.attempts, claim.own_failures) == (2.5, job.traceparent, 1, 0)
    assert claim.remaining_seconds == 86_000
    assert (await records.jobs.get(TENANT, job.id)).state is JobState.RUNNING


async def test_tenants_take_turns_and_one_tenants_backlog_stays_its_own(records: Records) -> None:
    flood = await submit(records, 8, tenant="flood")
    quiet = await submit(records, 2, tenant="quiet")
    order = [(await claim_one(records)).job_id for _ in range(6)]
    assert order == [flood[0], quiet[0], flood[1], quiet[1], flood[2], flood[3]]


async def test_within_a_turn_interactive_work_goes_first_and_batch_work_is_not_starved(records: Records) -> None:
    batch = await submit(records, 2, work_class=WorkClass.BATCH)
    interactive = await submit(records, 3, work_class=WorkClass.INTERACTIVE)
    order = [(await claim_one(records)).job_id for _ in range(5)]
    assert order == [interactive[0], batch[0], interactive[1], batch[1], interactive[2]]


async def test_clips_are_claimed_in_turns_of_their_own(records: Records) -> None:
    for name in ("video_1", "video_2"):
        await submit(records, 1, id=name)
    pictures = await submit(records, 3)
    await submit(records, 1, id="video_3", tenant="another")
    claims = await records.claims.claim(1, LEASE_SECONDS, clips=2)
    assert [claim.job_id for claim in claims] == ["video_1", pictures[0], "video_3"]
    assert [claim.job_id for claim in await records.claims.claim(9, LEASE_SECONDS)] == pictures[1:]
    assert [claim.job_id for claim in await records.claims.claim(0, LEASE_SECONDS, clips=9)] == ["video_2"]


async def test_a_dead_replicas_job_is_taken_over_when_its_lease_has_run_out(records: Records, other: Records) -> None:
    await submit(records, 1)
    dead = await claim_one(records)
    records.clock.advance(LEASE_SECONDS - 0.001)
    assert await other.claims.claim(1, LEASE_SECONDS) == []
    records.clock.advance(0.001)
    taken = await claim_one(other)
    assert (taken.job_id, taken.epoch, taken.attempts) == (dead.job_id, dead.epoch + 1, 2)


async def test_a_renewed_lease_does_not_run_out(records: Records, other: Records) -> None:
    await submit(records, 2)
    claims = await records.claims.claim(2, LEASE_SECONDS)
    for _ in range(3):
        records.clock.advance(LEASE_SECONDS - 1)
        assert await records.claims.renew(claims, LEASE_SECONDS) == {claim.job_id for claim in claims}
        assert await other.claims.claim(2, LEASE_SECONDS) == []


async def test_a_paused_replica_that_wakes_up_changes_nothing(records: Records, other: Records) -> None:
    (job_id,) = await submit(records, 1)
    paused = await claim_one(records)
    records.clock.advance(LEASE_SECONDS)
    present = await claim_one(other)
    before = await other.jobs.get(TENANT, job_id)
    assert await records.claims.renew([paused], LEASE_SECONDS) == set()
    assert not await records.events.note(paused, "phase", {})
    for ending in (
        success(paused),
        Failure({"error": {}}),
        PutBack("stage_unavailable"),
        PutBack("x", own_failure=True),
    ):
        assert not await records.claims.finish(paused, ending)
    assert await other.jobs.get(TENANT, job_id) == before
    assert await other.claims.finish(present, success(present))
    assert not await records.claims.finish(paused, success(paused))
    assert (await other.jobs.get(TENANT, job_id)).result == f'{{"epoch": {present.epoch}}}'


async def test_a_success_is_result_pictures_usage_and_event_together(records: Records) -> None:
    (job_id,) = await submit(records, 1)
    claim = await claim_one(records)
    assert await records.claims.finish(claim, success(claim, pictures=3))
    job = await records.jobs.get(TENANT, job_id)
    assert (job.state, job.finished_ms, job.result) == (JobState.SUCCEEDED, records.clock.ms, '{"epoch": 1}')
    assert [each.key for each in await records.jobs.pictures(job_id)] == [f"jobs/{job_id}/1-{n}" for n in range(3)]
    (day,) = await records.usage.read(TENANT, TODAY, TODAY)
    assert (day.model_digest, day.requests, day.pictures, day.compute_units) == (MODEL_DIGEST, 1, 3, 2.5)
    events = await records.events.read(job_id, 0)
    assert [(event.number, event.kind) for event in events] == [(1, "queued"), (2, "running"), (3, "succeeded")]


async def test_a_finish_whose_answer_was_lost_may_be_asked_again_and_counts_once(records: Records) -> None:
    (job_id,) = await submit(records, 1)
    claim = await claim_one(records)
    ending = success(claim)
    assert await records.claims.finish(claim, ending)
    assert await records.claims.finish(claim, ending)
    assert not await records.claims.finish(claim, Failure({"error": {}}))
    (day,) = await records.usage.read(TENANT, TODAY, TODAY)
    assert day.requests == 1
    assert len(await records.events.read(job_id, 0)) == 3


async def test_a_failure_keeps_the_error_and_costs_nothing(records: Records) -> None:
    (job_id,) = await submit(records, 1)
    claim = await claim_one(records)
    assert await records.claims.finish(claim, Failure(error_body(DrawingFailed("numbers ran away"))))
    job = await records.jobs.get(TENANT, job_id)
    assert job.state is JobState.FAILED
    assert job.error is not None
    assert '"drawing_failed"' in job.error
    assert await records.usage.read(TENANT, TODAY, TODAY) == []


async def test_a_job_that_was_put_back_rests_and_is_tried_again(records: Records) -> None:
    (job_id,) = await submit(records, 1)
    claim = await claim_one(records)
    assert await records.claims.finish(claim, PutBack("stage_unavailable", rest_seconds=5))
    assert await records.claims.claim(1, LEASE_SECONDS) == []
    records.clock.advance(5)
    again = await claim_one(records)
    assert (again.job_id, again.attempts, again.own_failures) == (job_id, 2, 0)


async def test_the_fifth_failure_of_its_own_is_a_jobs_last_and_others_failures_do_not_count(records: Records) -> None:
    (job_id,) = await submit(records, 1)
    for _ in range(20):
        assert await records.claims.finish(await claim_one(records), PutBack("stage_unavailable"))
    for failures in range(MAX_OWN_FAILURES):
        claim = await claim_one(records)
        assert claim.own_failures == failures
        assert await records.claims.finish(claim, PutBack("drawing_failed", own_failure=True))
    job = await records.jobs.get(TENANT, job_id)
    assert job.state is JobState.FAILED
    assert job.error is not None
    assert '"job_quarantined"' in job.error
    assert '"drawing_failed"' in job.error
    assert await records.claims.claim(1, LEASE_SECONDS) == []


async def test_an_expired_job_is_not_claimed_and_its_running_claim_is_void(records: Records) -> None:
    ids = await submit(records, 2, lifetime_seconds=60.0)
    running = await claim_one(records)
    records.clock.advance(60)
    assert await records.claims.claim(2, LEASE_SECONDS) == []
    assert await records.retention.expire() == 2
    assert not await records.claims.finish(running, success(running))
    for job_id in ids:
        assert (await records.jobs.get(TENANT, job_id)).state is JobState.EXPIRED
        assert (await records.events.read(job_id, 0))[-1].kind == "expired"


async def test_events_are_numbered_without_gaps_and_read_from_where_a_listener_stopped(records: Records) -> None:
    (job_id,) = await submit(records, 1)
    claim = await claim_one(records)
    phases = [f"phase-{number}" for number in range(20)]
    assert all(await asyncio.gather(*(records.events.note(claim, "phase", {"phase": phase}) for phase in phases)))
    events = await records.events.read(job_id, 0)
    assert [event.number for event in events] == list(range(1, 23))
    assert [event.data["phase"] for event in events[2:]] == phases
    for after in range(23):
        assert await records.events.read(job_id, after, limit=3) == events[after : after + 3]


async def test_no_events_are_told_of_a_job_that_does_not_exist(records: Records) -> None:
    assert await records.events.read("job_unknown", 0) == []


@pytest.mark.parametrize("claims", [0, 1])
async def test_renewing_nothing_or_what_is_not_ours_changes_nothing(
    records: Records, other: Records, claims: int
) -> None:
    await submit(records, 1)
    theirs = await other.claims.claim(1, LEASE_SECONDS)
    assert await records.claims.renew(theirs[:claims], LEASE_SECONDS) == set()
