"""Where an unfinished job is, at whichever replica that is asked: its phase, its place in the queue and its ETA.

A job waits twice: in the database for a hand of some replica, then in the queue for a slot of the model. In the queue
its ticket names it, and whoever keeps the order knows all of them; so a job that another replica carries is asked about
there. One that still lies in the database would stand behind those that will be claimed before it (`jobs.line`): its
place is counted in the same queue. One that is drawn has left the queue, and has no place.

What this process knows is told without waiting for anybody (`known_at_once`): nearly everything, where it is alone.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace

from bowerbird.errors import RecordsUnavailable
from bowerbird.gateway.admission.admission import Admission
from bowerbird.gateway.admission.ticket import Place, Ticket
from bowerbird.gateway.call import flow_of
from bowerbird.gateway.gateway import Gateway
from bowerbird.gateway.jobs.carrying import has_computed_in
from bowerbird.gateway.jobs.line import Queued
from bowerbird.gateway.records.job import Job, JobKind, JobState
from bowerbird.gateway.records.job_events import WAITING

WAITS = frozenset({"queued", "put_back"})
"""Events after which a job waits in the database."""


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """Where a job is; None for what is not known, or is not so."""

    phase: str | None = None
    place: Place | None = None


NOWHERE = Whereabouts()


def known_at_once(job: Job, weight: float, gateway: Gateway) -> Whereabouts | None:
    """Where a job is, if this process needs to ask nobody for it; else None, and `whereabouts` says more.

    `weight` is its tenant's share of the model.
    """
    if job.state.final:
        return NOWHERE
    if job.state is JobState.QUEUED:
        return _foreseen_at_once(job, None, weight, gateway) if _is_taken_at_once(job, gateway) else None
    progress = gateway.jobs.carrier.progress(job.id)
    if progress is None:
        return None
    if has_computed_in(progress.phase):
        return Whereabouts(progress.phase)
    if progress.place is not None and progress.phase in (WAITING, "admit"):
        return Whereabouts(progress.phase, progress.place)
    return _foreseen_at_once(job, progress.phase, weight, gateway)


async def whereabouts(job: Job, weight: float, gateway: Gateway) -> Whereabouts:
    """Where a job is: for one that somebody asks about, not for each in a list.

    Nobody is refused an answer for want of a prediction: what cannot be looked at now is not known.
    """
    if (known := known_at_once(job, weight, gateway)) is not None:
        return known
    try:
        if job.state is JobState.QUEUED:
            return Whereabouts(place=await _place_of_queued(job, weight, gateway))
        progress = gateway.jobs.carrier.progress(job.id)
        phase = progress.phase if progress else await gateway.records.events.last_phase(job.id)
    except RecordsUnavailable:
        return NOWHERE
    return await _of_running(job, phase, weight, gateway)


async def whereabouts_of_new(job: Job, weight: float, gateway: Gateway) -> Whereabouts:
    """Where a job is that was accepted just now: of many that come at once, some are looked for and the others are told
    to be behind them, since a look costs as much as to accept a job.
    """
    if (known := known_at_once(job, weight, gateway)) is not None:
        return known
    line = gateway.jobs.line
    if job.state is JobState.QUEUED and (next_place := line.told_next(job)) and not line.may_glimpse():
        return Whereabouts(place=next_place)
    found = await whereabouts(job, weight, gateway)
    line.tell(job, found.place)
    return found


async def whereabouts_as_heard(job: Job, heard: str, weight: float, gateway: Gateway, told: Whereabouts) -> Whereabouts:
    """Where a job is whose last phase, or else event, was `heard`, for somebody who was `told` so before.

    Thousands who listen to nothing must not read the database for it: most of those whose jobs wait there are told the
    same again.
    """
    queued = heard in WAITS
    rests = int(heard == "put_back")
    job = replace(job, state=JobState.QUEUED if queued else JobState.RUNNING, attempts=max(rests, job.attempts))
    if (known := known_at_once(job, weight, gateway)) is not None:
        return known
    if not queued:
        return await _of_running(job, WAITING if heard == JobState.RUNNING.value else heard, weight, gateway)
    if not gateway.jobs.line.may_glimpse():
        return told if told.phase is None else NOWHERE
    try:
        return Whereabouts(place=await _place_of_queued(job, weight, gateway))
    except RecordsUnavailable:
        return NOWHERE


def _is_taken_at_once(job: Job, gateway: Gateway) -> bool:
    """Whether nothing is before it in the database: it does not rest, and there are hands for it."""
    return not job.attempts and gateway.jobs.carrier.takes_at_once(JobKind.of(job.id))


async def _place_of_queued(job: Job, weight: float, gateway: Gateway) -> Place | None:
    if _is_taken_at_once(job, gateway):
        queued = Queued(gateway.jobs.carrier.submitted_before(job), 0.0)
    else:
        queued = await gateway.jobs.line.before(job)
    ahead = queued.ahead + gateway.jobs.carrier.ahead_of(job)
    place = await _admission_of(job, gateway).foresee(_ticket(job, weight), ahead)
    if place is None or place.eta_seconds is None:
        return place
    return Place(place.position, max(place.eta_seconds, queued.rest_seconds))


async def _of_running(job: Job, phase: str | None, weight: float, gateway: Gateway) -> Whereabouts:
    if phase is None or has_computed_in(phase):
        return Whereabouts(phase)
    ahead = gateway.jobs.carrier.ahead_of(job)
    return Whereabouts(phase, await _admission_of(job, gateway).foresee(_ticket(job, weight), ahead))


def _foreseen_at_once(job: Job, phase: str | None, weight: float, gateway: Gateway) -> Whereabouts | None:
    """With its place, where the order is kept in this process."""
    order = _admission_of(job, gateway).order
    if order is None:
        return None
    carrier = gateway.jobs.carrier
    ahead = carrier.submitted_before(job) + carrier.ahead_of(job)
    return Whereabouts(phase, order.foresee(_ticket(job, weight), ahead, time.monotonic()))


def _admission_of(job: Job, gateway: Gateway) -> Admission:
    """The queue in which it waits."""
    return gateway.animators.admission if JobKind.of(job.id) is JobKind.CLIP else gateway.admission


def _ticket(job: Job, weight: float) -> Ticket:
    """What it would wait by, under its own id: where it waits already, its ticket there is found by that."""
    return Ticket(
        id=job.id,
        tenant=flow_of(job.tenant),
        cost=job.cost,
        wait_until=math.inf,
        work_class=job.work_class,
        weight=weight,
        arrived=time.monotonic(),
        accepted=True,
    )
