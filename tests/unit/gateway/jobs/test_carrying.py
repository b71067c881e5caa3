"""Who carries jobs finishes them once, and lets go of what is no longer its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bowerbird.gateway.admission.admission import LAST_WORDS_SECONDS
from bowerbird.gateway.admission.ticket import Place
from bowerbird.gateway.jobs import carrying
from bowerbird.gateway.jobs.carrying import Carrier, Drawn
from bowerbird.gateway.jobs.watching import JobWatch
from bowerbird.gateway.records.job import Claim, Job, JobKind, JobState
from bowerbird.gateway.records.opening import Records, open_records
from bowerbird.settings import Settings
from tests.postgresql import RunningPostgreSQL, running_postgresql

from ..records.rows import TENANT, entry, new_job


class Drawing:
    """Draws when it is let; counts."""

    def __init__(self) -> None:
        self.phase = "draw"
        """In which the next ones are until they are let."""
        self.begun: list[str] = []
        self.cancelled: list[str] = []
        self.let = asyncio.Event()

    async def __call__(self, claim: Claim, progress: Callable[[str], None], place: Callable[[Place], None]) -> Drawn:
        self.begun.append(claim.job_id)
        place(Place(3, 1.5))
        progress(self.phase)
        try:
            await self.let.wait()
        except asyncio.CancelledError:
            self.cancelled.append(claim.job_id)
            raise
        return Drawn([b"picture"], "{}", entry(claim.job_id))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path)


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carrying, "RENEW_SECONDS", 0.05)
    monkeypatch.setattr(carrying, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(carrying, "AGAIN_SECONDS", 0.05)


@asynccontextmanager
async def replica(settings: Settings, drawing: Drawing) -> AsyncIterator[tuple[Records, Carrier]]:
    async with open_records(settings) as records:
        carrier = Carrier(records, JobWatch(records.events), drawing)
        async with carrier.running():
            yield records, carrier


async def until(records: Records, job_id: str, wanted: Callable[[Job], bool]) -> Job:
    """The job as soon as it is as wanted."""
    for _ in range(1_000):
        job = await records.jobs.get(TENANT, job_id)
        if wanted(job):
            return job
        await asyncio.sleep(0.02)
    raise AssertionError(f"the job is {job}")


async def until_let_go(carrier: Carrier, job_id: str) -> None:
    """Waits until the carrier does nothing more about the job."""
    for _ in range(1_000):
        if carrier.progress(job_id) is None:
            return
        await asyncio.sleep(0.01)
    raise AssertionError("the job is still carried")


async def until_begun(drawing: Drawing, job_id: str) -> None:
    """Waits until the job is drawn: its row says that it runs a moment before."""
    for _ in range(1_000):
        if job_id in drawing.begun:
            return
        await asyncio.sleep(0.01)
    raise AssertionError("the job is not drawn")


async def files(records: Records) -> list[str]:
    return [key async for key in records.pictures.keys("jobs/")]


def finished(job: Job) -> bool:
    return job.state.final


async def test_two_replicas_draw_every_job_once(settings: Settings) -> None:
    one, two = Drawing(), Drawing()
    one.let.set()
    two.let.set()
    async with replica(settings, one) as (records, _), replica(settings, two):
        jobs = [new_job() for _ in range(40)]
        await asyncio.gather(*(records.jobs.submit(job) for job in jobs))
        ended = [await until(records, job.id, finished) for job in jobs]
    assert {(job.state, job.attempts) for job in ended} == {(JobState.SUCCEEDED, 1)}
    assert sorted(one.begun + two.begun) == sorted(job.id for job in jobs)


async def test_a_cancel_in_another_replica_stops_the_drawing(settings: Settings) -> None:
    drawing = Drawing()
    async with replica(settings, drawing) as (records, carrier), open_records(settings) as other:
        job = new_job()
        await other.jobs.submit(job)
        await until(records, job.id, lambda job: job.state is JobState.RUNNING)
        await other.jobs.cancel(TENANT, job.id)
        await until_let_go(carrier, job.id)
        assert drawing.cancelled == [job.id]
        assert await files(records) == []


async def test_a_process_that_ends_gives_back_what_waits_and_finishes_what_is_drawn(settings: Settings) -> None:
    ending, other = Drawing(), Drawing()
    other.let.set()
    drawn, waits = new_job(), new_job()
    async with open_records(settings) as records:
        async with replica(settings, ending) as (_, carrier):
            await records.jobs.submit(drawn)
            await until_begun(ending, drawn.id)
            ending.phase = "admit"
            await records.jobs.submit(waits)
            await until_begun(ending, waits.id)
            carrier.end_within(60, alone=False)
            async with replica(settings, other):
                assert (await until(records, waits.id, finished)).state is JobState.SUCCEEDED
            assert ending.cancelled == [waits.id]
            asyncio.get_running_loop().call_later(0.2, ending.let.set)
        job = await records.jobs.get(TENANT, drawn.id)
        assert (job.state, job.attempts) == (JobState.SUCCEEDED, 1)


async def test_a_process_whose_time_is_over_gives_back_what_it_draws(settings: Settings) -> None:
    drawing, job = Drawing(), new_job()
    async with open_records(settings) as records:
        async with replica(settings, drawing) as (_, carrier):
            await records.jobs.submit(job)
            await until_begun(drawing, job.id)
            carrier.end_within(LAST_WORDS_SECONDS + 0.2, alone=True)
            assert not carrier.waits_in_vain(job.id)
        assert carrier.waits_in_vain(job.id)
        assert drawing.cancelled == [job.id]
        assert (await records.jobs.get(TENANT, job.id)).state is JobState.QUEUED


async def test_who_was_paused_and_overtaken_finishes_nothing_and_leaves_no_file(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(carrying, "RENEW_SECONDS", 1_000.0)  # as if its process stood still
    monkeypatch.setattr(carrying, "LEASE_SECONDS", 0.3)
    monkeypatch.setattr(carrying, "JOBS_IN_HAND", 1)  # and claims nothing any more when it has one
    paused, present = Drawing(), Drawing()
    present.let.set()
    async with replica(settings, paused) as (records, carrier):
        job = new_job()
        await records.jobs.submit(job)
        await until(records, job.id, lambda job: job.state is JobState.RUNNING)
        await asyncio.sleep(0.4)
        async with open_records(settings) as other:
            watch = JobWatch(other.events)
            (claim,) = await other.claims.claim(1, 10.0)
            await Carrier(other, watch, present)._carry(carrying._InHand(claim))
        assert (await records.jobs.get(TENANT, job.id)).state is JobState.SUCCEEDED
        paused.let.set()
        await until_let_go(carrier, job.id)
        assert await files(records) == [f"jobs/{job.id}/2-0"]
        assert len(await records.usage.read(TENANT, 0, 100_000)) == 1


async def test_a_picture_does_not_wait_for_a_hand_that_holds_a_clip(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for hands in ("JOBS_IN_HAND", "CLIPS_IN_HAND"):
        monkeypatch.setattr(carrying, hands, 1)
    drawing = Drawing()
    async with replica(settings, drawing) as (records, _):
        clips = [new_job(id=f"video_{number}") for number in range(2)]
        for job in clips:
            await records.jobs.submit(job)
        await until(records, clips[0].id, lambda job: job.state is JobState.RUNNING)
        picture = new_job()
        await records.jobs.submit(picture)
        async with asyncio.timeout(30):
            while len(drawing.begun) < 2:  # noqa: ASYNC110 - no event of the test's own
                await asyncio.sleep(0.01)
        assert drawing.begun == [clips[0].id, picture.id]
        assert (await records.jobs.get(TENANT, clips[1].id)).state is JobState.QUEUED
        drawing.let.set()
        await until(records, clips[1].id, finished)


async def test_while_all_hands_are_full_a_submit_is_no_reason_to_look_at_what_waits(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(carrying, "JOBS_IN_HAND", 1)
    monkeypatch.setattr(carrying, "LOOK_SECONDS", 1_000.0)
    drawing, looks = Drawing(), list[int]()
    async with replica(settings, drawing) as (records, carrier):
        claim = records.claims.claim

        async def counted(limit: int, lease_seconds: float, clips: int = 0) -> list[Claim]:
            looks.append(limit)
            return await claim(limit, lease_seconds, clips)

        monkeypatch.setattr(records.claims, "claim", counted)
        first = new_job()
        await records.jobs.submit(first)
        carrier.wake(JobKind.PICTURES)
        await until(records, first.id, lambda job: job.state is JobState.RUNNING)
        looks.clear()
        for _ in range(2):
            await records.jobs.submit(new_job())
            carrier.wake(JobKind.PICTURES)
            while carrier._woken:  # noqa: ASYNC110 - it says so to nobody
                await asyncio.sleep(0)
        assert looks == []
        clip = new_job(id="video_1")
        await records.jobs.submit(clip)
        carrier.wake(JobKind.CLIP)
        await until(records, clip.id, lambda job: job.state is JobState.RUNNING)
        assert looks == [0]


async def test_what_cannot_be_drawn_is_not_claimed_and_the_other_kind_is(settings: Settings) -> None:
    drawing, clips_may_come = Drawing(), asyncio.Event()
    drawing.let.set()
    async with open_records(settings) as records:
        carrier = Carrier(records, JobWatch(records.events), drawing)
        async with carrier.running(lambda kind: kind is JobKind.PICTURES or clips_may_come.is_set()):
            clip, picture = new_job(id="video_1"), new_job()
            for job in (clip, picture):
                await records.jobs.submit(job)
            await until(records, picture.id, finished)
            assert (await records.jobs.get(TENANT, clip.id)).attempts == 0
            clips_may_come.set()
            await until(records, clip.id, finished)


async def test_who_stops_puts_its_jobs_back_at_once(settings: Settings) -> None:
    drawing = Drawing()
    async with replica(settings, drawing) as (records, _):
        job = new_job()
        await records.jobs.submit(job)
        await until(records, job.id, lambda job: job.state is JobState.RUNNING)
    async with open_records(settings) as records:
        back = await records.jobs.get(TENANT, job.id)
        assert (back.state, back.attempts) == (JobState.QUEUED, 1)
        (claim,) = await records.claims.claim(1, 10.0)
        assert claim.own_failures == 0


async def test_progress_is_known_where_the_job_is_carried(settings: Settings) -> None:
    drawing = Drawing()
    async with replica(settings, drawing) as (records, carrier):
        job = new_job()
        await records.jobs.submit(job)
        await until(records, job.id, lambda job: job.events >= 3)
        progress = carrier.progress(job.id)
        assert progress is not None
        assert (progress.phase, progress.place) == ("draw", Place(3, 1.5))
        assert carrier.progress("job_other") is None
        drawing.let.set()
        await until(records, job.id, finished)


@pytest.fixture
def mortal() -> Iterator[RunningPostgreSQL]:
    """A server that nobody else needs."""
    try:
        with running_postgresql() as server:
            yield server
    except FileNotFoundError as error:
        pytest.skip(str(error))


async def test_a_job_is_finished_although_its_database_died_meanwhile(
    settings: Settings, mortal: RunningPostgreSQL, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(carrying, "LEASE_SECONDS", 600.0)  # however long a server takes to come back
    url = await asyncio.to_thread(mortal.create, "records")
    drawing = Drawing()
    async with replica(settings.model_copy(update={"database_url": url}), drawing) as (records, _):
        job = new_job()
        await records.jobs.submit(job)
        await until(records, job.id, lambda job: job.events >= 3)
        mortal.kill()
        drawing.let.set()
        await asyncio.sleep(0.3)
        await asyncio.to_thread(mortal.start)
        ended = await until(records, job.id, finished)
        assert (ended.state, ended.attempts) == (JobState.SUCCEEDED, 1)
        assert len(await records.usage.read(TENANT, 0, 100_000)) == 1
