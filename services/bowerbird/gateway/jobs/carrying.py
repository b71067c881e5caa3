"""Carries jobs through: claims them, tells the story for each, stores the pictures, ends the claim.

Each replica carries as many as it can hold at a time, of pictures and of clips; most of them wait for their turn in
admission, which knows cost and weight. A claim is renewed while it is worked on. When it turns out void (cancelled,
expired, taken over because this process was paused) the work is cancelled, which closes the connections to the stages.
A process that stops puts its jobs back; one that dies leaves them to whoever claims them when the lease has run out.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any, Protocol

from opentelemetry.propagate import extract
from prometheus_client import CollectorRegistry

from bowerbird.errors import RecordsUnavailable
from bowerbird.gateway.admission.admission import LAST_WORDS_SECONDS
from bowerbird.gateway.admission.ticket import NOBODY, Ahead, Place
from bowerbird.gateway.background import to_its_end
from bowerbird.gateway.call import tracer
from bowerbird.gateway.jobs.metrics import JobMetrics
from bowerbird.gateway.jobs.outcome import ending_of
from bowerbird.gateway.jobs.watching import JobWatch
from bowerbird.gateway.records.job import Claim, Ending, Job, JobKind, PutBack, StoredPicture, Success
from bowerbird.gateway.records.job_events import WAITING
from bowerbird.gateway.records.opening import Records
from bowerbird.gateway.records.retention import picture_key
from bowerbird.gateway.records.usage import UsageEntry

LEASE_SECONDS = 10.0
RENEW_SECONDS = 3.0
"""Three may fail before a lease is lost. A cancel in another replica is noticed with the next one, and asks for it."""
DOUBT_SECONDS = 0.1
"""Between two renewals, however many cancels are heard of: one finds them all."""
LOOK_SECONDS = 1.0
"""How often jobs of other replicas, rested and orphaned ones are looked for; own submits are claimed at once."""
CLAIM_SECONDS = 0.05
"""Between two looks, also while jobs are submitted faster: a look costs as much as a dozen claims."""
JOBS_IN_HAND = 64
CLIPS_IN_HAND = 64
"""Hands of their own: clips take minutes, and pictures must not wait for one that waits."""
FREE_ENOUGH = 16
"""Hands that are free before more is claimed out of turn: a claim looks at every job that waits."""
AGAIN_SECONDS = 1.0
BEFORE_COMPUTING = frozenset({WAITING, "wake", "check_prompt", "admit"})
"""Phases, to their first dot, in which a job has not met the model yet."""

logger = logging.getLogger(__name__)


CanDraw = Callable[[JobKind], bool]
"""Whether what draws jobs of a kind is there, or comes."""


BEFORE_QUEUEING = frozenset({WAITING, "check_prompt"})
"""Those of them in which it has no ticket yet."""


def has_computed_in(phase: str) -> bool:
    """Whether a job in this phase has met the model."""
    return phase.partition(".")[0] not in BEFORE_COMPUTING


def _any_kind(_: JobKind) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Drawn:
    """What the story brought for a job."""

    pictures: list[bytes]
    result: str
    """JSON: the answer without its pictures."""
    usage: UsageEntry


@dataclass(slots=True)
class Progress:
    """Where a job that is carried here is; for those who listen."""

    phase: str = WAITING
    place: Place | None = None


class Draw(Protocol):
    """How a claimed job is drawn; raises what the story raises."""

    def __call__(
        self, claim: Claim, progress: Callable[[str], None], place: Callable[[Place], None]
    ) -> Awaitable[Drawn]:
        """Tells the phases it enters to `progress`, and its place in the queue to `place`."""


@dataclass(eq=False, slots=True)
class _InHand:
    claim: Claim
    progress: Progress = field(default_factory=Progress)
    task: asyncio.Task[None] | None = None
    notes: list[asyncio.Task[None]] = field(default_factory=list)

    @property
    def has_computed(self) -> bool:
        """Whether the job has met the model."""
        return has_computed_in(self.progress.phase)


class Carrier:
    """This replica's hands; `watch` hears of everything that happens to a job here."""

    def __init__(self, records: Records, watch: JobWatch, draw: Draw, metrics: JobMetrics | None = None) -> None:
        self._records = records
        self._watch = watch
        self._draw = draw
        self._metrics = metrics or JobMetrics(CollectorRegistry())
        self._hands: dict[str, _InHand] = {}
        self._wake = asyncio.Event()
        self._woken: set[JobKind] = set()
        self._look_seconds = LOOK_SECONDS
        self._look_at = 0.0
        self._claimed_at = -math.inf
        self._claiming = True
        self._alone = False
        self._ends_at = math.inf
        self._giving_back: asyncio.Task[None] | None = None
        self._can_draw: CanDraw = _any_kind
        self._submitted: dict[str, None] = {}
        """Jobs that were submitted here since the last look."""
        self._behind: set[JobKind] = set(JobKind)
        """Kinds of which more may wait than there were hands for at the last look."""
        self._doubt = asyncio.Event()

    def wake(self, kind: JobKind, submitted: str | None = None) -> None:
        """A job of this kind was submitted here, or hands for such are free."""
        if submitted is not None:
            self._submitted[submitted] = None
        self._woken.add(kind)
        self._wake.set()

    def progress(self, job_id: str) -> Progress | None:
        """Where a job is, if it is carried here."""
        hand = self._hands.get(job_id)
        return hand.progress if hand else None

    def takes_at_once(self, kind: JobKind) -> bool:
        """Whether a job of this kind that is submitted now is taken by the next look, as all before it were."""
        return self._claiming and kind not in self._behind

    def ahead_of(self, job: Job) -> Ahead:
        """Jobs that are carried here on their way into the queue, and will be there before this one."""
        kind, ahead = JobKind.of(job.id), NOBODY
        for each in (hand.claim for hand in self._hands.values() if hand.progress.phase in BEFORE_QUEUEING):
            if each.job_id == job.id:
                return ahead
            if JobKind.of(each.job_id) is kind:
                own = (each.tenant, each.work_class) == (job.tenant, job.work_class)
                ahead += Ahead(1, each.cost) if own else Ahead(0, 0.0, 1, each.cost)
        return ahead

    def submitted_before(self, job: Job) -> Ahead:
        """Jobs that were submitted here before this one and since the last look, as if they were like it."""
        if job.id not in self._submitted:
            return NOBODY
        kind = JobKind.of(job.id)
        count = sum(JobKind.of(each) is kind for each in takewhile(lambda each: each != job.id, self._submitted))
        return Ahead(count, count * job.cost)

    def end_within(self, seconds: float, *, alone: bool) -> None:
        """This process ends in so many seconds: what is computed is finished, what waits is given back, and no more is
        taken. `alone`: nobody takes it before a successor starts."""
        self._claiming, self._alone = False, alone
        self._ends_at = time.monotonic() + seconds - LAST_WORDS_SECONDS
        waiting = [hand for hand in self._hands.values() if not hand.has_computed]
        self._giving_back = asyncio.create_task(self._put_back(waiting))
        self._watch.notify_all()

    @property
    def left_seconds(self) -> float:
        """Until whoever waits for a job here is to be told to go elsewhere; without end before `end_within`."""
        return max(0.0, self._ends_at - time.monotonic())

    def waits_in_vain(self, job_id: str) -> bool:
        """Whether whoever waits for this job here is to ask again elsewhere, or later.

        This process is about to end, and nobody carries the job before it has, or its time is over.
        """
        if math.isinf(self._ends_at):
            return False
        return self.left_seconds == 0 or (self._alone and job_id not in self._hands)

    def stop(self, job_id: str) -> None:
        """Ends the work on a job at once, whose claim is void: it was cancelled here."""
        if (hand := self._hands.get(job_id)) and hand.task:
            hand.task.cancel()

    def doubt(self) -> None:
        """A job was cancelled somewhere: claims that are void are found at once."""
        self._doubt.set()

    @asynccontextmanager
    async def running(self, can_draw: CanDraw = _any_kind) -> AsyncIterator[None]:
        """Carries jobs until the context ends, then puts back what is not finished.

        While `can_draw` says no of a kind, none of it is claimed: an attempt that must fail would only make the job
        rest, and another replica may reach what this one does not.
        """
        self._can_draw = can_draw
        loops = [asyncio.create_task(_for_ever(work)) for work in (self._claim, self._renew)]
        try:
            yield
        finally:
            for task in loops[:1]:
                task.cancel()
            await self._until_computed()
            for task in loops:
                task.cancel()
            await asyncio.gather(*loops, return_exceptions=True)
            await self._put_back(list(self._hands.values()))

    async def _claim(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, self._look_at - time.monotonic())):
                await self._wake.wait()
        await asyncio.sleep(max(0.0, self._claimed_at + CLAIM_SECONDS - time.monotonic()))
        self._claimed_at = time.monotonic()
        self._wake.clear()
        seen = list(self._submitted)
        wanted, self._woken = self._woken, set()  # a submit of one kind is no reason to look at all that waits of both
        if time.monotonic() >= self._look_at:
            wanted, self._look_at = set(JobKind), time.monotonic() + self._look_seconds
        try:
            await self._claim_all(wanted)
        finally:
            for job_id in seen:
                self._submitted.pop(job_id, None)

    async def _claim_all(self, wanted: set[JobKind]) -> None:
        """As many as there are hands for."""
        while self._claiming and wanted:
            free = {kind: self._free(kind) if kind in wanted and self._can_draw(kind) else 0 for kind in JobKind}
            self._behind |= {kind for kind in wanted if not free[kind]}
            if not any(free.values()):
                return
            taken = await to_its_end(self._claim_up_to(free))
            self._behind -= {kind for kind in wanted if taken[kind] < free[kind]}
            wanted = {kind for kind in JobKind if 0 < free[kind] <= taken[kind]}
            self._behind |= wanted

    async def _claim_up_to(self, free: Mapping[JobKind, int]) -> Counter[JobKind]:
        """How many it were, of each kind."""
        claims = await self._records.claims.claim(free[JobKind.PICTURES], LEASE_SECONDS, free[JobKind.CLIP])
        for claim in claims:
            self._take(claim)
        return Counter(JobKind.of(claim.job_id) for claim in claims)

    def _free(self, kind: JobKind) -> int:
        """Hands for jobs of this kind."""
        hands = CLIPS_IN_HAND if kind is JobKind.CLIP else JOBS_IN_HAND
        return max(0, hands - sum(JobKind.of(job_id) is kind for job_id in self._hands))

    async def _renew(self) -> None:
        await asyncio.sleep(DOUBT_SECONDS)
        with suppress(TimeoutError):
            async with asyncio.timeout(RENEW_SECONDS - DOUBT_SECONDS):
                await self._doubt.wait()
        self._doubt.clear()
        hands = list(self._hands.values())
        if not hands:
            return
        valid = await self._records.claims.renew([hand.claim for hand in hands], LEASE_SECONDS)
        for hand in hands:
            if hand.claim.job_id not in valid and hand.task and self._hands.get(hand.claim.job_id) is hand:
                hand.task.cancel()

    def _take(self, claim: Claim) -> None:
        if before := self._hands.get(claim.job_id):  # our own claim, whose lease ran out while we were paused
            assert before.task is not None  # noqa: S101 - set two lines below, before anything else runs
            before.task.cancel()
        hand = self._hands[claim.job_id] = _InHand(claim)
        hand.task = asyncio.create_task(self._carry(hand))

    async def _carry(self, hand: _InHand) -> None:
        claim = hand.claim
        self._watch.notify(claim.job_id)
        try:
            with tracer.start_as_current_span("job", extract({"traceparent": claim.traceparent or ""})) as span:
                span.set_attributes({"bowerbird.job": claim.job_id, "bowerbird.attempt": claim.attempts})
                ending = await self._attempt(hand)
            await asyncio.sleep(0)  # so that the last note is handed in before the end, and written with it
            await self._end(claim, ending)
            await asyncio.gather(*hand.notes, return_exceptions=True)
        except Exception:  # a bug: the lease runs out, and the job is claimed again
            logger.exception("a job was let go of", extra={"job": claim.job_id})
        finally:
            if self._hands.get(claim.job_id) is hand:
                del self._hands[claim.job_id]
            if self._free(kind := JobKind.of(claim.job_id)) == FREE_ENOUGH:
                self.wake(kind)
            self._watch.notify(claim.job_id)

    async def _attempt(self, hand: _InHand) -> Ending:
        claim = hand.claim

        def entered(phase: str) -> None:
            hand.progress.phase = phase
            hand.notes.append(asyncio.create_task(self._note(claim, phase)))

        def placed(place: Place) -> None:
            hand.progress.place = place

        try:
            drawn = await self._draw(claim, entered, placed)
            return Success(drawn.result, await self._store(claim, drawn.pictures), drawn.usage)
        except Exception as error:  # whatever it is, a job must not hang on it
            ending = ending_of(error, claim.attempts, computed=hand.has_computed)
            facts = {"job": claim.job_id, "attempt": claim.attempts, "error": type(error).__name__}
            logger.warning("an attempt at a job failed", extra=facts)
            return ending

    async def _note(self, claim: Claim, phase: str) -> None:
        with suppress(RecordsUnavailable):  # listeners miss a phase; the job does not suffer for it
            await self._records.events.note(claim, "phase", {"phase": phase})
        self._watch.notify(claim.job_id)

    async def _store(self, claim: Claim, pictures: list[bytes]) -> list[StoredPicture]:
        stored = []
        for number, picture in enumerate(pictures):
            digest = f"sha256:{hashlib.sha256(picture).hexdigest()}"
            stored.append(StoredPicture(picture_key(claim.job_id, claim.epoch, number), len(picture), digest))
        await asyncio.gather(
            *(self._records.pictures.put(each.key, body) for each, body in zip(stored, pictures, strict=True))
        )
        return stored

    async def _end(self, claim: Claim, ending: Ending) -> None:
        """Ends the claim, as often as it takes while the database is away; pictures of a void claim are removed."""
        while True:
            try:
                valid = await self._records.claims.finish(claim, ending)
                break
            except RecordsUnavailable:
                await asyncio.sleep(AGAIN_SECONDS)
        self._metrics.attempted(claim, ending, valid=valid)
        if not valid and isinstance(ending, Success):
            with suppress(RecordsUnavailable):  # the sweeper finds them
                await self._records.pictures.delete([picture.key for picture in ending.pictures])

    async def _until_computed(self) -> None:
        """Returns when nothing is computed any more, or the time is over that `end_within` left."""
        computing = [hand.task for hand in self._hands.values() if hand.task and hand.has_computed]
        if computing and not math.isinf(self._ends_at):
            await asyncio.wait(computing, timeout=self.left_seconds)

    async def _put_back(self, hands: Sequence[_InHand]) -> None:
        tasks = [hand.task for hand in hands if hand.task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        back = PutBack("gateway_stopped")
        await asyncio.gather(*(self._records.claims.finish(hand.claim, back) for hand in hands), return_exceptions=True)


async def _for_ever(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    while True:
        try:
            await work()
        except RecordsUnavailable:
            logger.warning("jobs are not carried while the records cannot be written")
            await asyncio.sleep(AGAIN_SECONDS)
        except Exception:  # a bug: jobs must not stand still for it
            logger.exception("jobs were not looked after")
            await asyncio.sleep(AGAIN_SECONDS)
