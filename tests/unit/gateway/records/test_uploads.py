"""A picture that a job begins with is there as long as its job, and no longer."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from bowerbird.errors import PictureLost, RecordsUnavailable, StorageFull
from bowerbird.gateway.records.tables import job_uploads
from bowerbird.gateway.records.uploads import LEFT_BEHIND_MS, Upload, upload_key

from .conftest import DAY_SECONDS, Records
from .rows import LEASE_SECONDS, TENANT, new_job, success
from .test_retention import files

PICTURE = b"the only bird of its kind"


async def room_for_all(_: AsyncConnection, __: str, ___: int) -> None:
    pass


async def kept(records: Records) -> str:
    """A job that begins with a picture."""
    job = new_job()
    await records.uploads.keep(Upload(job.id, TENANT, None), PICTURE, room_for_all)
    await records.jobs.submit(job)
    return job.id


async def rows(records: Records) -> int:
    async with records.database.reading() as connection:
        return await connection.scalar(select(func.count()).select_from(job_uploads)) or 0


async def test_whoever_claims_the_job_reads_it(records: Records, other: Records) -> None:
    job_id = await kept(records)
    assert await other.uploads.read(job_id) == PICTURE
    await records.pictures.put(upload_key(job_id), b"another")
    with pytest.raises(PictureLost, match="not the one"):
        await records.uploads.read(job_id)
    with pytest.raises(PictureLost, match="is gone"):
        await records.uploads.read("job_2")


async def test_what_there_is_no_room_for_is_not_named_either(records: Records) -> None:
    async def no_room(_: AsyncConnection, tenant: str, length: int) -> None:
        raise StorageFull(f"{tenant} has no room for {length} bytes.")

    with pytest.raises(StorageFull, match=str(len(PICTURE))):
        await records.uploads.keep(Upload("job_1", TENANT, None), PICTURE, no_room)
    assert (await rows(records), await files(records)) == (0, [])


async def test_what_cannot_be_put_counts_in_nothing(records: Records) -> None:
    await records.pictures.put("jobs/job_1", b"where a folder would have to be")
    with pytest.raises(RecordsUnavailable):
        await records.uploads.keep(Upload("job_1", TENANT, None), PICTURE, room_for_all)
    assert await rows(records) == 0


async def test_it_is_kept_as_long_as_its_job(records: Records) -> None:
    job_id = await kept(records)
    (claim,) = await records.claims.claim(1, LEASE_SECONDS)
    assert await records.claims.finish(claim, success(claim))  # whose picture it never put
    records.clock.advance(DAY_SECONDS - 0.001)
    await records.retention.sweep()
    await records.retention.remove_orphans()
    assert await records.uploads.read(job_id) == PICTURE
    records.clock.advance(0.001)
    assert (await records.retention.sweep()).files == 2
    assert (await rows(records), await files(records)) == (0, [])


async def test_it_goes_with_a_job_that_is_removed(records: Records) -> None:
    job_id = await kept(records)
    assert await records.jobs.remove(TENANT, job_id) == [upload_key(job_id)]
    assert await rows(records) == 0


async def test_what_never_became_a_jobs_is_removed_after_an_hour_and_not_before(records: Records) -> None:
    job_id = await kept(records)
    await records.uploads.keep(Upload("job_never", TENANT, None), PICTURE, room_for_all)
    records.clock.advance(LEFT_BEHIND_MS / 1000 - 0.001)
    await records.retention.sweep()
    await records.retention.remove_orphans()
    assert await records.uploads.read("job_never") == PICTURE
    records.clock.advance(0.001)
    assert (await records.retention.sweep()).files == 1
    assert await files(records) == [upload_key(job_id)]
    await records.uploads.forget(job_id)
    assert await files(records) == []


async def test_a_file_that_no_row_names_is_an_orphan(records: Records) -> None:
    job_id = await kept(records)
    await records.pictures.put(upload_key("job_gone"), PICTURE)
    assert await records.retention.remove_orphans() == 1
    assert await files(records) == [upload_key(job_id)]
