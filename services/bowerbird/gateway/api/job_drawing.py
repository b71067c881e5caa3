"""How a claimed job is drawn: its request becomes a plan again, the story draws it, and the answer is written down."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

from bowerbird.contracts import ModelCosts
from bowerbird.deadline import Deadline
from bowerbird.errors import ComputingTooLong, DeadlineExceeded
from bowerbird.gateway.admission.ticket import Place
from bowerbird.gateway.api.clip_drawing import draw_clip, usage_of_clip
from bowerbird.gateway.api.edit_drawing import draw_kept_edit
from bowerbird.gateway.api.image_drawing import Drawing, ImagesResponse, draw_images, usage_of
from bowerbird.gateway.call import Call, flow_of
from bowerbird.gateway.clips.endpoints import CHAIN as CLIP_CHAIN
from bowerbird.gateway.clips.request import ClipRequest
from bowerbird.gateway.demand.waking import CHAIN
from bowerbird.gateway.gateway import Gateway
from bowerbird.gateway.identity.principal import Principal
from bowerbird.gateway.jobs.carrying import Drawn
from bowerbird.gateway.jobs.request import JobRequest, JobResult, KeptEdit, read_job_request
from bowerbird.gateway.records.job import Claim, JobKind
from bowerbird.gateway.records.usage import UsageEntry
from bowerbird.gateway.results.lookup import Cache
from bowerbird.gateway.stages import StageState
from bowerbird.gateway.upstream import Stage

CHAINS: Mapping[JobKind, Sequence[Stage]] = {JobKind.PICTURES: CHAIN, JobKind.CLIP: CLIP_CHAIN}
"""What jobs need."""
LONGER_THAN_PREDICTED = 4.0
"""A clip takes minutes on a small machine, others share it meanwhile, and what is given up is computed again."""


async def draw_job(
    gateway: Gateway, claim: Claim, progress: Callable[[str], None], place: Callable[[Place], None]
) -> Drawn:
    """The pictures, or the clip, and the answer of a job; raises what the story raises, and TenantDisabled.

    Nobody's connection waits for it, so that a job which takes longer than a request may is given twice the time after
    each failure of its own. Which one it was shows when its time is over: a stage that hangs is not ready by then, and
    the job is not to blame.
    """
    request = read_job_request(claim.request)
    call = _call_of(claim, request, await gateway.identity.of_tenant(claim.tenant), gateway, progress)
    if isinstance(request.asked, ClipRequest):
        with _blamed_if_too_long(call, CLIP_CHAIN, gateway):
            clip = await draw_clip(request.asked, request.action, call, gateway, place)
        usage = usage_of_clip(clip, claim.job_id, claim.tenant, claim.cost)
        return Drawn([clip.clip.content], _result(clip.body, clip.headers), usage)
    with _blamed_if_too_long(call, CHAIN, gateway):
        drawing = await _drawn(request, call, gateway, place)
    return Drawn(drawing.told.result.pictures, _result(drawing.body, drawing.headers), _usage(drawing, claim))


async def _drawn(request: JobRequest, call: Call, gateway: Gateway, place: Callable[[Place], None]) -> Drawing:
    asked = request.asked
    if isinstance(asked, KeptEdit):
        return await draw_kept_edit(asked, request.action, call, gateway, place)
    assert not isinstance(asked, ClipRequest)  # noqa: S101 - drawn otherwise, above; for the type checker
    if asked.cache is Cache.ANY and not gateway.results.stores:  # any more: it was accepted, so it is drawn
        asked = asked.model_copy(update={"cache": Cache.FRESH})
    return await draw_images(asked, call, gateway, place, request.action)


def _call_of(
    claim: Claim, request: JobRequest, principal: Principal, gateway: Gateway, progress: Callable[[str], None]
) -> Call:
    settings = gateway.settings
    moves, model = isinstance(request.asked, ClipRequest), gateway.animators.known_model
    costs = model.costs if moves and model is not None else None
    return Call(
        request_id=claim.job_id,
        deadline=Deadline.after(settings.request_timeout_seconds),
        metrics=gateway.metrics,
        locale=request.locale,
        flow=flow_of(claim.tenant),
        work_class=claim.work_class,
        weight=principal.weight,
        queue_part=principal.tier.queue_part,
        accepted=True,
        patience=Deadline.after(claim.remaining_seconds),
        queue_seconds=claim.remaining_seconds,
        computing_seconds=computing_seconds(claim, settings.request_timeout_seconds, costs),
        on_stage=progress,
        on_wake=lambda waking: progress(f"wake.{waking.phase}"),
    )


def computing_seconds(claim: Claim, timeout_seconds: float, costs: ModelCosts | None) -> float:
    """How long this attempt may take: a clip, of a model with these `costs`, as long as it was predicted to and more.

    Each failure of the job's own doubles it.
    """
    predicted = 0.0 if costs is None else claim.cost * costs.unit_seconds
    return max(timeout_seconds, LONGER_THAN_PREDICTED * predicted) * 2.0**claim.own_failures


@contextmanager
def _blamed_if_too_long(call: Call, chain: Sequence[Stage], gateway: Gateway) -> Iterator[None]:
    try:
        yield
    except DeadlineExceeded as error:
        if any(gateway.stages.statuses[stage].state is not StageState.READY for stage in chain):
            raise
        raise ComputingTooLong(f"The job was not computed within {call.computing_seconds:.0f} s.") from error


def _result(body: ImagesResponse, headers: dict[str, str]) -> str:
    """The answer as it is written down: without the pictures, which lie in the store."""
    said = body.model_dump(mode="json")
    for image in said["data"]:
        image["b64_json"] = ""
    return JobResult(headers=headers, body=said).model_dump_json()


def _usage(drawing: Drawing, claim: Claim) -> UsageEntry:
    """What the job used, at the price at which it was accepted and charged: a model may be measured anew meanwhile."""
    usage = usage_of(drawing, claim.job_id, claim.tenant)
    return replace(usage, compute_units=claim.cost) if usage.compute_units else usage
