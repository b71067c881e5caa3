"""What will be in the queue before a job that no replica carries yet: for whoever asks about one, not for the claims.

Asking the database about each job each time would cost more, the longer the line. What is found holds for a second:
what waits in which flow, for every job; and what is older than a job, for every younger one, of which only what lies
between the two is counted then. So all who ask in one second look at each row of the line about once, together.
"""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass, field

from bowerbird.contracts import WorkClass
from bowerbird.gateway.admission.ticket import Ahead, Place
from bowerbird.gateway.records.claim_order import OLDEST, Age, ClaimOrder, Older
from bowerbird.gateway.records.job import Job, JobKind
from bowerbird.gateway.records.turns import WaitingFlow, taken_before

TRUSTED_SECONDS = 1.0
GLIMPSE_SECONDS = 0.02
"""Between two looks for those who are told again and again, like thousands who listen; others of them are told less."""
MAX_MARKS = 10_000
"""Jobs that are remembered; beyond it, all are forgotten."""


@dataclass(slots=True)
class _Marks:
    """What was found within a second: by flow, in the order of age."""

    until: float
    ages: dict[tuple[str, str, JobKind], list[Age]] = field(default_factory=dict)
    found: dict[Age, Older] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Queued:
    """A job that waits to be claimed."""

    ahead: Ahead
    rest_seconds: float
    """Until it may be claimed; 0 unless it rests after an attempt that failed."""


class Line:
    """The jobs that wait to be claimed, as this process knows them."""

    def __init__(self, order: ClaimOrder) -> None:
        self._order = order
        self._flows: Sequence[WaitingFlow] = ()
        self._flows_until = 0.0
        self._counting = asyncio.Lock()
        self._marks = _Marks(0.0)
        self._glimpse_at = 0.0
        self._told: dict[tuple[str, WorkClass, JobKind], tuple[float, Place | None]] = {}
        """Until when it holds, and what the newest job of a flow was told."""

    async def before(self, job: Job) -> Queued:
        """What will be claimed before a job that waits; raises RecordsUnavailable."""
        older, flows = await self._older(job), await self._waiting()
        kind, number = JobKind.of(job.id), older.count + 1
        mine = (job.tenant, job.work_class, kind)
        unseen = WaitingFlow(job.tenant, job.work_class, number, 0, job.created_ms, kind)
        flow = next((each for each in flows if (each.tenant, each.work_class, each.kind) == mine), unseen)
        others = taken_before(flow, number, flows)
        units = sum(each.units * count / each.waiting for each, count in others.items())
        return Queued(Ahead(older.count, older.units, sum(others.values()), units), older.rest_seconds)

    def told_next(self, job: Job) -> Place | None:
        """One place behind what was told within the last second to a new job of the same flow; None where none was."""
        flow, now = (job.tenant, job.work_class, JobKind.of(job.id)), time.monotonic()
        until, place = self._told.get(flow, (0.0, None))
        if place is None or now >= until:
            return None
        place = Place(place.position + 1, place.eta_seconds)
        self._told[flow] = until, place
        return place

    def tell(self, job: Job, place: Place | None) -> None:
        """This was found for a new job."""
        if len(self._told) >= MAX_MARKS:
            self._told.clear()
        self._told[job.tenant, job.work_class, JobKind.of(job.id)] = time.monotonic() + TRUSTED_SECONDS, place

    def may_glimpse(self) -> bool:
        """Whether there is room now for the look of somebody who is content with being told again what was told."""
        now = time.monotonic()
        if now < self._glimpse_at:
            return False
        self._glimpse_at = now + GLIMPSE_SECONDS
        return True

    async def _waiting(self) -> Sequence[WaitingFlow]:
        async with self._counting:
            if time.monotonic() >= self._flows_until:
                self._flows = await self._order.flows()
                self._flows_until = time.monotonic() + TRUSTED_SECONDS
            return self._flows

    async def _older(self, job: Job) -> Older:
        if time.monotonic() >= self._marks.until or len(self._marks.found) >= MAX_MARKS:
            self._marks = _Marks(time.monotonic() + TRUSTED_SECONDS)
        marks, age = self._marks, (job.created_ms, job.id)
        if known := marks.found.get(age):
            return known
        ages = marks.ages.setdefault((job.tenant, job.work_class, JobKind.of(job.id)), [])
        place = bisect_left(ages, age)
        mark = ages[place - 1] if place else OLDEST
        before = marks.found.get(mark, Older(0, 0.0))
        since = await self._order.older(job, mark)
        older = Older(before.count + since.count, before.units + since.units, since.rest_seconds)
        if age not in marks.found:
            marks.found[age] = older
            insort(ages, age)
        return older
