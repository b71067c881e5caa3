"""The same key and request, the same job or answer; exactly one of them, however many ask at once."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy.exc import IntegrityError

from bowerbird.errors import IdempotencyKeyReused

from .conftest import Records
from .rows import TENANT, keyed, new_job

DAY_SECONDS = 86_400


async def test_the_same_key_and_request_is_the_same_job(records: Records, other: Records) -> None:
    first, second = new_job(), new_job()
    assert (await records.jobs.submit(first, keyed())).job_id == first.id
    assert (await other.jobs.submit(second, keyed())).job_id == first.id
    found = await other.keys.find(keyed())
    assert found is not None
    assert found.job_id == first.id
    assert await records.jobs.queued() == 1


async def test_another_request_under_the_key_is_refused_and_no_job(records: Records) -> None:
    await records.jobs.submit(new_job(), keyed(body=b"one"))
    with pytest.raises(IdempotencyKeyReused) as refused:
        await records.jobs.submit(new_job(), keyed(body=b"two"))
    assert refused.value.param == "Idempotency-Key"
    with pytest.raises(IdempotencyKeyReused):
        await records.keys.find(keyed(body=b"two"))
    with pytest.raises(IdempotencyKeyReused):
        await records.keys.remember(keyed(body=b"two"), b"answer")
    assert await records.jobs.queued() == 1


async def test_a_key_belongs_to_its_tenant(records: Records) -> None:
    one, two = new_job(tenant="one"), new_job(tenant="two")
    assert (await records.jobs.submit(one, keyed(tenant="one"))).job_id == one.id
    assert (await records.jobs.submit(two, keyed(tenant="two"))).job_id == two.id


async def test_concurrent_submits_of_the_same_keys_by_two_replicas_make_one_job_each(
    records: Records, other: Records
) -> None:
    asked = [(replica, keyed(f"key-{number % 25}")) for number in range(100) for replica in (records, other)]
    answers = await asyncio.gather(*(replica.jobs.submit(new_job(), key) for replica, key in asked))
    by_key: dict[str, set[str | None]] = {}
    for (_, key), answer in zip(asked, answers, strict=True):
        by_key.setdefault(key.key, set()).add(answer.job_id)
    assert [len(job_ids) for job_ids in by_key.values()] == [1] * 25
    assert await records.jobs.queued(TENANT) == 25


async def test_of_two_requests_under_one_key_at_once_one_is_refused(records: Records, other: Records) -> None:
    for number in range(10):
        answers = await asyncio.gather(
            records.jobs.submit(new_job(), keyed(f"key-{number}", b"one")),
            other.jobs.submit(new_job(), keyed(f"key-{number}", b"two")),
            return_exceptions=True,
        )
        assert sorted(isinstance(answer, IdempotencyKeyReused) for answer in answers) == [False, True]
    assert await records.jobs.queued() == 10


async def test_jobs_without_and_with_keys_share_a_commit_and_do_not_disturb_each_other(records: Records) -> None:
    await records.jobs.submit(new_job(), keyed("taken", b"first"))
    plain, fresh = [new_job() for _ in range(5)], [new_job() for _ in range(5)]
    answers = await asyncio.gather(
        *(records.jobs.submit(job) for job in plain),
        *(records.jobs.submit(job, keyed(f"fresh-{number}")) for number, job in enumerate(fresh)),
        records.jobs.submit(new_job(), keyed("taken", b"second")),
        return_exceptions=True,
    )
    assert isinstance(answers.pop(), IdempotencyKeyReused)
    assert [answer.job_id for answer in answers if not isinstance(answer, BaseException)] == [
        job.id for job in plain + fresh
    ]


async def test_a_key_is_free_again_after_a_day_swept_or_not(records: Records) -> None:
    first, second = new_job(lifetime_seconds=200_000.0), new_job()
    await records.jobs.submit(first, keyed(body=b"one"))
    records.clock.advance(DAY_SECONDS - 0.001)
    assert (await records.jobs.submit(new_job(), keyed(body=b"one"))).job_id == first.id
    records.clock.advance(0.001)
    assert await records.keys.find(keyed(body=b"two")) is None
    assert (await records.jobs.submit(second, keyed(body=b"two"))).job_id == second.id
    assert await records.jobs.queued() == 2


async def test_the_first_answer_that_is_remembered_is_everybodys(records: Records, other: Records) -> None:
    answers = await asyncio.gather(
        *(replica.keys.remember(keyed(), f"{number}".encode()) for number in range(5) for replica in (records, other))
    )
    assert len({each.answer for each in answers}) == 1
    found = await records.keys.find(keyed())
    assert found is not None
    assert (found.answer, found.job_id) == (answers[0].answer, None)


async def test_a_key_is_not_kept_when_its_job_could_not_be(records: Records) -> None:
    job = new_job()
    await records.jobs.submit(job)
    with pytest.raises(IntegrityError):
        await records.jobs.submit(job, keyed())  # the same id again: the row is refused
    assert await records.keys.find(keyed()) is None
