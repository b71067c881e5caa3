"""How a claimed job is drawn: its request becomes a plan again, the story draws it, and the answer is written down."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from bowerbird.deadline import Deadline
from bowerbird.errors import ComputingTooLong, DeadlineExceeded
from bowerbird.gateway.admission.ticket import Place
from bowerbird.gateway.api.image_drawing import Drawing, draw_images, usage_of
from bowerbird.gateway.call import Call, flow_of
from bowerbird.gateway.gateway import Gateway
from bowerbird.gateway.jobs.carrying import Drawn
from bowerbird.gateway.jobs.request import JobResult, read_job_request
from bowerbird.gateway.records.job import Claim
from bowerbird.gateway.records.usage import UsageEntry
from bowerbird.gateway.results.lookup import Cache


async def draw_job(
    gateway: Gateway, claim: Claim, progress: Callable[[str], None], place: Callable[[Place], None]
) -> Drawn:
    """The pictures and the answer of a job; raises what the story raises.

    Nobody's connection waits for it, so that a job which takes longer than a request may is given twice the time after
    each failure of its own. Which one it was shows when its time is over: a stage that hangs is not ready by then, and
    the job is not to blame.
    """
    request = read_job_request(claim.request)
    settings = gateway.settings
    computing_seconds = settings.request_timeout_seconds * 2**claim.own_failures
    call = Call(
        request_id=claim.job_id,
        deadline=Deadline.after(settings.request_timeout_seconds),
        metrics=gateway.metrics,
        locale=request.locale,
        flow=flow_of(claim.tenant),
        work_class=claim.work_class,
        weight=settings.tenant_weights.get(claim.tenant, 1.0),
        patience=Deadline.after(claim.remaining_seconds),
        queue_seconds=claim.remaining_seconds,
        computing_seconds=computing_seconds,
        on_stage=progress,
        on_wake=lambda waking: progress(f"wake.{waking.phase}"),
    )
    asked = request.asked
    if asked.cache is Cache.ANY and not gateway.results.stores:  # any more: it was accepted, so it is drawn
        asked = asked.model_copy(update={"cache": Cache.FRESH})
    try:
        drawing = await draw_images(asked, call, gateway, place, request.action)
    except DeadlineExceeded as error:
        if not gateway.stages.chain_is_ready:
            raise
        raise ComputingTooLong(f"The job was not computed within {computing_seconds:.0f} s.") from error
    body = drawing.body.model_dump(mode="json")
    for image in body["data"]:
        image["b64_json"] = ""
    return Drawn(
        drawing.told.result.pictures,
        JobResult(headers=drawing.headers, body=body).model_dump_json(),
        _usage(drawing, claim),
    )


def _usage(drawing: Drawing, claim: Claim) -> UsageEntry:
    """What the job used, at the price at which it was accepted and charged: a model may be measured anew meanwhile."""
    usage = usage_of(drawing, claim.job_id, claim.tenant)
    return replace(usage, compute_units=claim.cost) if usage.compute_units else usage
