"""Requests for pictures that are accepted as jobs: `Prefer: respond-async`, `Idempotency-Key`, or both.

Accepted is what stands in the database before the client hears of it. Safety decides first: of a prompt that may not be
drawn nothing is kept. Who asked for `respond-async` gets the job (202) at once, or the pictures when they are there
within `wait` seconds (RFC 7240), or the job as soon as the queue is known to be longer than that; who only sent a key
gets the pictures. When the client leaves, or its time is over, the job goes on: the same key finds it.
"""

from __future__ import annotations

import math
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from bowerbird.errors import BowerbirdError, DeadlineExceeded, IdempotencyKeyReused, RecordsUnavailable
from bowerbird.gateway.admission.admission import stopping
from bowerbird.gateway.api.idempotency import keyed_request, read_key
from bowerbird.gateway.api.image_drawing import plan_of
from bowerbird.gateway.api.image_request import GenerateImages
from bowerbird.gateway.api.job_body import job_body, job_path, result_response
from bowerbird.gateway.api.job_place import whereabouts, whereabouts_of_new
from bowerbird.gateway.call import Call
from bowerbird.gateway.clips.plan import ClipPlan
from bowerbird.gateway.demand.waking import CHAIN
from bowerbird.gateway.editing import Read
from bowerbird.gateway.gateway import Gateway
from bowerbird.gateway.hang_up import unless_hung_up
from bowerbird.gateway.jobs.request import job_request
from bowerbird.gateway.plan import Plan, compute_units
from bowerbird.gateway.prompt_length import require_readable
from bowerbird.gateway.records.idempotency import KeyedRequest, Remembered
from bowerbird.gateway.records.job import Job, JobKind, NewJob
from bowerbird.gateway.records.uploads import Upload
from bowerbird.gateway.story import Allowed, check_prompt
from bowerbird.gateway.upstream import Stage
from bowerbird.telemetry import traced_headers

MAX_WAIT_SECONDS = 3600.0
LOOK_SECONDS = 10.0
"""How long news of a job may be missed before its row is read again."""
LONGEST_RETRY_SECONDS = 60

_WAIT = re.compile(r"wait\s*=\s*\"?([0-9]{1,6})\"?")


@dataclass(frozen=True, slots=True)
class Acceptance:
    """How a request is to be accepted."""

    key: str | None
    respond_async: bool
    wait_seconds: float
    """How long the caller of `respond_async` waits for the pictures before it takes the job instead."""


def acceptance_of(request: Request) -> Acceptance | None:
    """What the headers ask for; None for a plain request. Raises RequestInvalid for a key that is none."""
    key = read_key(request)
    preferences = ",".join(request.headers.getlist("prefer")).lower()
    respond_async = "respond-async" in (each.strip() for each in preferences.split(","))
    if key is None and not respond_async:
        return None
    wait = _WAIT.search(preferences)
    seconds = min(float(wait.group(1)), MAX_WAIT_SECONDS) if wait else 0.0
    return Acceptance(key, respond_async, seconds)


@dataclass(frozen=True, slots=True)
class Settled:
    """What nothing speaks against."""

    request: str
    """As the job keeps it, JSON."""
    cost: float
    """Compute units."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to become a job, once safety lets its prompt through."""

    kind: JobKind
    plan: Plan | ClipPlan
    chain: Sequence[Stage]
    """What it will need."""
    settle: Callable[[Allowed], Awaitable[Settled]]
    """Raises what speaks against it, beside its prompt."""
    end_user: str | None
    lookers: Sequence[Stage] = (Stage.SAFETY,)
    """Who must be awake before it is accepted."""
    begins_with: Read | None = None
    """Gives what was uploaded for it to begin with; it is kept with the job."""


async def accept(request: Request, call: Call, asked: GenerateImages, acceptance: Acceptance) -> Response:
    """The job, or its pictures; raises whatever the story may raise, or IdempotencyKeyReused."""
    gateway: Gateway = request.app.state.gateway

    async def wanted() -> Wanted:
        plan = await plan_of(asked, call, gateway)

        async def settle(allowed: Allowed) -> Settled:
            await require_readable(allowed, plan.model, Stage.TEXT_TO_IMAGE, call, gateway)
            return Settled(job_request(asked, plan, allowed, call.locale), compute_units(plan))

        return Wanted(JobKind.PICTURES, plan, CHAIN, settle, asked.end_user)

    job_id = await job_of(request, call, acceptance.key, asked.as_stated, wanted)
    return await awaited(request, call, job_id, acceptance)


async def job_of(
    request: Request, call: Call, key: str | None, stated: bytes, wanted: Callable[[], Awaitable[Wanted]]
) -> str:
    """The id of the job that the request becomes, or that its key stands for already; `stated` is the request.

    Raises IdempotencyKeyReused, what `wanted` raises, and what safety or the tenant's limits say against it.
    """
    gateway: Gateway = request.app.state.gateway
    keyed = None if key is None else keyed_request(request, gateway, key, stated)
    found = await gateway.records.keys.find(keyed) if keyed else None
    job_id = found.job_id if found else await _submit(request, call, await wanted(), keyed)
    if job_id is None:
        raise IdempotencyKeyReused("Idempotency-Key belongs to another request.", param="Idempotency-Key")
    return job_id


async def awaited(request: Request, call: Call, job_id: str, acceptance: Acceptance) -> Response:
    """The job's result, or the job, as the caller is content with; raises DeadlineExceeded where there is neither."""
    gateway: Gateway = request.app.state.gateway
    job = await waited_for(request, call, job_id, acceptance.wait_seconds if acceptance.respond_async else None)
    if job.state.final:
        return await result_response(job, gateway)
    if acceptance.respond_async:
        return await accepted_job(job, call, gateway)
    if gateway.jobs.carrier.waits_in_vain(job_id):
        raise stopping()
    raise DeadlineExceeded(
        "The deadline passed before the pictures were finished. They will be: ask again with the same Idempotency-Key.",
        retry_after_seconds=1,
        details={"job": job_id},
    )


async def waited_for(request: Request, call: Call, job_id: str, seconds: float | None = None) -> Job:
    """The job when it has ended, or as it is when the caller waits no longer; raises ClientGone.

    Who is content with the job waits `seconds`, and less where those are known to be in vain; who is not (None), as
    long as a request may take.
    """
    settings = request.app.state.gateway.settings
    longest = settings.queue_timeout_seconds + settings.request_timeout_seconds
    until = min(call.patience.at, time.monotonic() + (longest if seconds is None else seconds))
    return await unless_hung_up(request, _finished(request, call, job_id, until, or_too_late=seconds is not None))


async def _submit(request: Request, call: Call, wanted: Wanted, keyed: KeyedRequest | None) -> str | None:
    """The id of the job that this request became, or of the one that its key became meanwhile."""
    gateway: Gateway = request.app.state.gateway
    await gateway.jobs.backlog.admit(request.state.tenant)

    async def checked() -> NewJob:
        await gateway.demand.waking.until_awake(wanted.lookers, call, wanted.chain)
        async with call.within_deadline():
            allowed = await check_prompt(wanted.plan, call, gateway.upstream)
            settled = await wanted.settle(allowed)
        return NewJob(
            id=f"{wanted.kind}_{secrets.token_hex(12)}",
            tenant=request.state.tenant,
            work_class=call.work_class,
            request=settled.request,
            cost=settled.cost,
            lifetime_seconds=gateway.settings.job_lifetime_seconds,
            traceparent=traced_headers().get("traceparent"),
            person=gateway.records.people.name(call.flow, wanted.end_user),
        )

    job = await unless_hung_up(request, checked())
    if wanted.begins_with is None:
        remembered = await _charge_and_submit(job, keyed, call, gateway)
    else:
        remembered = await _keep_and_submit(job, await wanted.begins_with(), keyed, call, gateway)
    gateway.jobs.carrier.wake(JobKind.of(job.id), job.id)
    return remembered.job_id


async def _charge_and_submit(job: NewJob, keyed: KeyedRequest | None, call: Call, gateway: Gateway) -> Remembered:
    await call.charge(job.cost)
    return await gateway.records.jobs.submit(job, keyed)


async def _keep_and_submit(
    job: NewJob, uploaded: bytes, keyed: KeyedRequest | None, call: Call, gateway: Gateway
) -> Remembered:
    """Keeps the upload first: what there is no room for is not charged, and what becomes no job is not kept."""
    uploads = gateway.records.uploads
    await uploads.keep(Upload(job.id, job.tenant, job.person), uploaded, gateway.files.files.require_room)
    try:
        remembered = await _charge_and_submit(job, keyed, call, gateway)
    except RecordsUnavailable:  # the job may have been accepted all the same; if not, the sweeper finds its upload
        raise
    except BowerbirdError:
        await uploads.forget(job.id)
        raise
    if remembered.job_id != job.id:
        await uploads.forget(job.id)
    return remembered


async def _finished(request: Request, call: Call, job_id: str, until: float, *, or_too_late: bool) -> Job:
    """The job when it has ended, or as it is at `until` (monotonic seconds), or when that is known to be in vain."""
    gateway: Gateway = request.app.state.gateway
    while True:
        job = await gateway.records.jobs.get(request.state.tenant, job_id)
        left = until - time.monotonic()
        if job.state.final or left <= 0 or gateway.jobs.carrier.waits_in_vain(job_id):
            return job
        if or_too_late and await _queued_for_longer(job, call, gateway, left):
            return job
        await gateway.jobs.watch.wait(job_id, job.events, min(left, LOOK_SECONDS, gateway.jobs.carrier.left_seconds))


async def _queued_for_longer(job: Job, call: Call, gateway: Gateway, seconds: float) -> bool:
    """Whether it will not even have left the queue by then, as predicted."""
    place = (await whereabouts(job, call.weight, gateway)).place
    return place is not None and (place.eta_seconds or 0) > seconds


async def accepted_job(job: Job, call: Call, gateway: Gateway) -> Response:
    """202 with the job, where it is found, and when looking at it makes sense."""
    body = job_body(job, await whereabouts_of_new(job, call.weight, gateway), gateway)
    seconds = min(LONGEST_RETRY_SECONDS, max(1, math.ceil(body.eta_seconds or 0)))
    headers = {"Location": job_path(job.id), "Retry-After": str(seconds), "Preference-Applied": "respond-async"}
    return Response(body.model_dump_json(), 202, headers, "application/json")
