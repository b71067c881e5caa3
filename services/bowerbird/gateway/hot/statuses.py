"""What was said of jobs, as long as nothing was written since.

A job's row is read in microseconds where it lies in this process' own SQLite file; to make an answer of it takes as
long again. Whoever asks once more before anything has been committed gets the same bytes: exactly what the row would
say, and what is known here of a job that is carried here. Any commit of this process empties it, and a second that has
passed, should another process use the file (a gateway that is being replaced). Where several gateways share a database
nothing is kept: they write without telling.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from bowerbird.gateway.jobs.carrying import Progress
from bowerbird.gateway.records.database import Database
from bowerbird.gateway.records.job import Job, JobState

BELIEVED_SECONDS = 1.0
MAX_SAID = 4_096
"""Each takes a kilobyte or less."""


class Statuses:
    """Bodies by tenant and job."""

    def __init__(self, database: Database, progress: Callable[[str], Progress | None]) -> None:
        self._database = database
        self._progress = progress
        """How far a job is that is carried here."""
        self._said: dict[tuple[str, str], tuple[Job, bytes, object]] = {}
        self._as_of = -1
        self._until = 0.0

    def find(self, tenant: str, job_id: str) -> tuple[Job, bytes] | None:
        """The job and its body, where that is what the row still says."""
        if self._database.commits != self._as_of or time.monotonic() >= self._until:
            self._said.clear()
            self._as_of, self._until = self._database.commits, time.monotonic() + BELIEVED_SECONDS
        said = self._said.get((tenant, job_id))
        return None if said is None or said[2] != self._moment(said[0]) else said[:2]

    def keep(self, job: Job, body: bytes) -> None:
        """Keeps what was said after `find` found nothing, and before anything else happened."""
        if self._database.is_postgresql or self._database.commits != self._as_of:
            return
        if len(self._said) >= MAX_SAID:
            self._said.clear()
        self._said[job.tenant, job.id] = job, body, self._moment(job)

    def _moment(self, job: Job) -> object:
        """What a job's body says beside its row: a job that is carried moves on without a row being written."""
        progress = self._progress(job.id) if job.state is JobState.RUNNING else None
        return None if progress is None else (progress.phase, progress.place)
