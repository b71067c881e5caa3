"""The life of jobs against a model: hypothesis lets replicas, callers and the clock do anything in any order.

The model is a dictionary; the database is SQLite, where every step is one transaction that other steps cannot enter.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Awaitable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from bowerbird.contracts import WorkClass
from bowerbird.errors import JobFinished, JobUnknown
from bowerbird.gateway.pictures.folder import FolderPictures
from bowerbird.gateway.records.claims import Claims
from bowerbird.gateway.records.database import Database, database_url, open_database
from bowerbird.gateway.records.job import MAX_OWN_FAILURES, Claim, Ending, Failure, JobState, PutBack

from .conftest import DAY_SECONDS, Clock, Records, written
from .rows import LEASE_SECONDS, keyed, new_job, success

Result = TypeVar("Result")
TENANTS = ("one", "two")


@dataclass
class Model:
    """What is expected of one job."""

    tenant: str
    expires_ms: int
    state: JobState = JobState.QUEUED
    epoch: int = 0
    attempts: int = 0
    own_failures: int = 0
    lease_until_ms: int = 0
    not_before_ms: int = 0
    finished_ms: int = 0
    events: list[str] = field(default_factory=lambda: ["queued"])

    def ends(self, state: JobState, now_ms: int, event: str) -> None:
        self.state = state
        self.finished_ms = now_ms
        self.events.append(event)

    def claimable(self, now_ms: int) -> bool:
        if now_ms >= self.expires_ms:
            return False
        waits = self.state is JobState.QUEUED and self.not_before_ms <= now_ms
        return waits or (self.state is JobState.RUNNING and self.lease_until_ms <= now_ms)


class JobLife(RuleBasedStateMachine):
    """Two replicas, two tenants, one clock."""

    held = Bundle("held")
    template: Path

    @initialize()
    def begin(self) -> None:
        self.runner = asyncio.Runner()
        self.folder = Path(tempfile.mkdtemp())
        shutil.copy(self.template, self.folder)
        self.clock = Clock()
        self.opened = open_database(database_url(None, self.folder), self.clock.now)
        database: Database = self.do(self.opened.__aenter__())
        self.writing = written(database)
        writer = self.do(self.writing.__aenter__())
        self.records = Records(database, writer, self.clock, FolderPictures(self.folder / "pictures"))
        self.replicas = [Claims(database, writer, f"replica-{number}") for number in range(2)]
        self.model: dict[str, Model] = {}
        self.keys: dict[tuple[str, str], tuple[str, int]] = {}
        self.used = {tenant: 0 for tenant in TENANTS}

    def do(self, work: Awaitable[Result]) -> Result:
        async def done() -> Result:
            return await work

        return self.runner.run(done())

    @rule(tenant=st.sampled_from(TENANTS), work_class=st.sampled_from(WorkClass), key=st.sampled_from(["", "a", "b"]))
    def submit(self, tenant: str, work_class: WorkClass, key: str) -> None:
        job = new_job(tenant=tenant, work_class=work_class)
        request = keyed(key, tenant=tenant) if key else None
        expected = job.id
        known = self.keys.get((tenant, key))
        if known and known[1] > self.clock.ms:
            expected = known[0]
        assert self.do(self.records.jobs.submit(job, request)).job_id == expected
        if expected == job.id:
            self.model[job.id] = Model(tenant, self.clock.ms + round(DAY_SECONDS * 1000))
            if key:
                self.keys[tenant, key] = (job.id, self.clock.ms + round(DAY_SECONDS * 1000))

    @rule(target=held, replica=st.integers(0, 1))
    def claim(self, replica: int) -> Claim | None:
        claims = self.do(self.replicas[replica].claim(1, LEASE_SECONDS))
        waiting = [job for job in self.model.values() if job.claimable(self.clock.ms)]
        assert len(claims) == min(1, len(waiting))
        if not claims:
            return None
        job = self.model[claims[0].job_id]
        assert job.claimable(self.clock.ms)
        job.state = JobState.RUNNING
        job.epoch += 1
        job.attempts += 1
        job.lease_until_ms = self.clock.ms + round(LEASE_SECONDS * 1000)
        job.events.append("running")
        found = (claims[0].epoch, claims[0].attempts, claims[0].own_failures)
        assert found == (job.epoch, job.attempts, job.own_failures)
        self.do(self.records.pictures.put(success(claims[0]).pictures[0].key, b"abc"))
        return claims[0]

    def valid(self, claim: Claim) -> Model | None:
        """The model of a claim's job, when the claim is its present one."""
        job = self.model.get(claim.job_id)
        return job if job and job.state is JobState.RUNNING and job.epoch == claim.epoch else None

    @rule(claim=held, replica=st.integers(0, 1))
    def renew(self, claim: Claim | None, replica: int) -> None:
        if claim is None:
            return
        renewed = self.do(self.replicas[replica].renew([claim], LEASE_SECONDS))
        job = self.valid(claim)
        assert not renewed or job is not None
        if job is not None and renewed:
            job.lease_until_ms = self.clock.ms + round(LEASE_SECONDS * 1000)

    @rule(claim=held)
    def note(self, claim: Claim | None) -> None:
        if claim is None:
            return
        job = self.valid(claim)
        assert self.do(self.records.events.note(claim, "phase", {})) == (job is not None)
        if job is not None:
            job.events.append("phase")

    @rule(claim=held)
    def succeed(self, claim: Claim | None) -> None:
        if claim is not None and (job := self.finish(claim, success(claim))):
            job.ends(JobState.SUCCEEDED, self.clock.ms, "succeeded")
            self.used[job.tenant] += 1

    @rule(claim=held)
    def fail(self, claim: Claim | None) -> None:
        if claim is not None and (job := self.finish(claim, Failure({"error": {"code": "image_blocked"}}))):
            job.ends(JobState.FAILED, self.clock.ms, "failed")

    @rule(claim=held, own=st.booleans(), rest=st.sampled_from([0.0, 5.0]))
    def put_back(self, claim: Claim | None, own: bool, rest: float) -> None:
        if claim is None or (job := self.finish(claim, PutBack("x", rest, own))) is None:
            return
        if own and job.own_failures + 1 == MAX_OWN_FAILURES:
            job.ends(JobState.FAILED, self.clock.ms, "failed")
            return
        job.state = JobState.QUEUED
        job.own_failures += own
        job.not_before_ms = self.clock.ms + round(rest * 1000)
        job.events.append("put_back")

    def finish(self, claim: Claim, ending: Ending) -> Model | None:
        """The model that must change now; a claim that ended so already may say so again, and nothing changes."""
        job = self.valid(claim)
        finished = self.do(self.records.claims.finish(claim, ending))
        assert finished or job is None
        return job

    @rule(data=st.data(), tenant=st.sampled_from(TENANTS))
    @precondition(lambda self: self.model)
    def cancel(self, data: st.DataObject, tenant: str) -> None:
        job_id = data.draw(st.sampled_from(sorted(self.model)))
        job = self.model[job_id]
        if job.tenant != tenant:
            with pytest.raises(JobUnknown):
                self.do(self.records.jobs.cancel(tenant, job_id))
        elif job.state.final:
            with pytest.raises(JobFinished):
                self.do(self.records.jobs.cancel(tenant, job_id))
        else:
            self.do(self.records.jobs.cancel(tenant, job_id))
            job.ends(JobState.CANCELLED, self.clock.ms, "cancelled")

    @rule(seconds=st.sampled_from([1.0, LEASE_SECONDS, DAY_SECONDS / 2]))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule()
    def sweep(self) -> None:
        self.do(self.records.retention.sweep())
        self.do(self.records.retention.remove_orphans())
        for job in self.model.values():
            if not job.state.final and job.expires_ms <= self.clock.ms:
                job.ends(JobState.EXPIRED, self.clock.ms, "expired")
        kept = self.clock.ms - round(DAY_SECONDS * 1000)
        self.model = {id: job for id, job in self.model.items() if not job.state.final or job.finished_ms > kept}
        files = self.do(self.files())
        named = {f"jobs/{id}/{job.epoch}-0" for id, job in self.model.items() if job.state is JobState.SUCCEEDED}
        writable = {f"jobs/{id}/{job.epoch}-0" for id, job in self.model.items() if not job.state.final}
        assert named <= files <= named | writable

    @invariant()
    def every_row_is_as_the_model_says(self) -> None:
        if not hasattr(self, "model"):
            return
        pages = [self.do(self.records.jobs.page(tenant, 1_000)) for tenant in TENANTS]
        found = {job.id: job for page in pages for job in page.jobs}
        assert found.keys() == self.model.keys()
        for job_id, job in self.model.items():
            assert (found[job_id].state, found[job_id].attempts) == (job.state, job.attempts)
            assert found[job_id].events == len(job.events)
        for tenant in TENANTS:
            assert (
                sum(day.requests for day in self.do(self.records.usage.read(tenant, 0, 100_000))) == self.used[tenant]
            )

    def teardown(self) -> None:
        if hasattr(self, "model"):
            for job_id, job in self.model.items():
                assert [event.kind for event in self.do(self.records.events.read(job_id, 0))] == job.events
            self.do(self.writing.__aexit__(None, None, None))
            self.do(self.opened.__aexit__(None, None, None))
            self.runner.close()
            shutil.rmtree(self.folder)

    async def files(self) -> set[str]:
        return {key async for key in self.records.pictures.keys("jobs/")}


def test_jobs_live_as_the_model_says(newest_file: Path) -> None:
    life: Any = type("Life", (JobLife,), {"template": newest_file})
    run_state_machine_as_test(life, settings=settings(max_examples=10, stateful_step_count=25, deadline=None))
