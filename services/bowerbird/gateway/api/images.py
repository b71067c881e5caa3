"""`POST /v1/images/generations`: what was asked becomes a plan, the story draws it, the answer says how it was made.

The body is OpenAI's `ImagesResponse` with one key of ours, `bowerbird`, for what a caller needs to draw the same
picture again or to find it in a trace. The same facts stand in headers, for those who only keep the picture.
"""

from __future__ import annotations

import base64
import logging
import math
import re
import time
from dataclasses import dataclass, replace
from typing import Literal

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from bowerbird.contracts import Action, Digest, FrameJudgement, OutputFormat, PolicyReference, Score
from bowerbird.errors import RecordsUnavailable
from bowerbird.gateway.admission.admission import Tell
from bowerbird.gateway.api.accepting import accept, acceptance_of
from bowerbird.gateway.api.arrival import arrive
from bowerbird.gateway.api.body import ResponseBody, read_json
from bowerbird.gateway.api.image_request import GenerateImages
from bowerbird.gateway.api.rate_limit import rate_limit
from bowerbird.gateway.call import Call
from bowerbird.gateway.gateway import Gateway
from bowerbird.gateway.hang_up import unless_hung_up
from bowerbird.gateway.plan import Plan, compute_units, plan_images
from bowerbird.gateway.records.usage import UsageEntry
from bowerbird.gateway.results.metrics import Source
from bowerbird.gateway.results.result import tag_is_known
from bowerbird.gateway.story import Told, tell
from bowerbird.telemetry import trace_id

logger = logging.getLogger(__name__)

CACHE_STATUS = {
    Source.STORED: "bowerbird; hit",
    Source.SHARED: "bowerbird; fwd=miss; collapsed",
    Source.DRAWN: "bowerbird; fwd=miss",
    Source.FRESH: "bowerbird; fwd=request",
}
"""RFC 9211: what the result store did for this answer."""

_NOT_A_KEY_CHARACTER = re.compile(r"[^a-z0-9_.*-]")


class Image(ResponseBody):
    """One picture."""

    b64_json: str = Field(description="The encoded and signed picture, base64.")
    revised_prompt: str | None = Field(
        default=None, description="What was drawn instead, where personal data was taken out of the prompt."
    )


class ImageFacts(ResponseBody):
    """How one picture came to be."""

    seed: int = Field(description="Send it as `seed` with n 1 and candidates 1 to draw this picture again.")
    candidate: int = Field(description="Which candidate was chosen, from 0.")
    total: float = Field(description="What candidates were ranked by.")
    scores: list[Score] = Field(description="Each with its version, direction and range.")


class GenerationFacts(ResponseBody):
    """How the pictures came to be; ours, beside OpenAI's fields."""

    request_id: str
    drawn_by: str = Field(
        description="Request that drew the pictures, which their label names; an earlier one where they were stored."
    )
    source: Source = Field(
        description="stored: drawn before; shared: drawn for another request that came at the same time; drawn: "
        "nothing was found; fresh: nothing was looked for."
    )
    trace_id: str | None = Field(description="W3C, 32 hexadecimal digits.")
    model: str
    model_digest: Digest = Field(description="Of the bundle that drew.")
    steps: int = Field(description="Denoising steps of each candidate.")
    guidance_scale: float
    candidates: int = Field(description="Drawn for each picture.")
    loras: dict[str, Digest] = Field(description="Name and digest of each LoRA that took part.")
    images: list[ImageFacts] = Field(description="In the order of `data`.")
    safety: Action = Field(description="What safety did with the prompt: allow, flag or redact.")
    policy: PolicyReference = Field(description="Which safety policy decided.")
    seconds: dict[str, float] = Field(description="By stage; stages overlap: judge and check_images begin with draw.")


class ImagesResponse(ResponseBody):
    """OpenAI's answer, with ours under `bowerbird`."""

    created: int = Field(description="Unix seconds when the pictures were drawn.")
    background: Literal["opaque"] = "opaque"
    data: list[Image]
    output_format: OutputFormat
    quality: Literal["low", "medium", "high", "xhigh", "max"] = Field(description="What `auto` became.")
    safety_identifier: str | None = Field(default=None, description="The effective one of the request.")
    size: str = Field(description="WIDTHxHEIGHT in pixels.")
    bowerbird: GenerationFacts


@dataclass(frozen=True, slots=True)
class Drawing:
    """A finished story and how it is answered."""

    plan: Plan
    told: Told
    body: ImagesResponse
    headers: dict[str, str]


async def generate(request: Request) -> Response:
    """Draws what the body asks for, at once or as a job."""
    gateway, call = arrive(request)
    asked = await read_json(request, GenerateImages)
    if acceptance := acceptance_of(request):
        return await accept(request, call, asked, acceptance)
    drawing = await unless_hung_up(request, draw_images(asked, call, gateway))
    await count(drawing, call.request_id, request.state.tenant, gateway)
    headers = {**drawing.headers, **rate_limit(request)}
    if tag_is_known(request.headers.get("if-none-match", ""), drawing.headers["ETag"]):
        return Response(None, 304, headers)
    return Response(drawing.body.model_dump_json(), 200, headers, "application/json")


async def draw_images(
    asked: GenerateImages, call: Call, gateway: Gateway, place: Tell | None = None, action: Action | None = None
) -> Drawing:
    """The story of a request, or of the job that it became, with its answer.

    `action` is what safety did with a job's prompt when it was accepted: what is drawn is what it left of it.
    """
    stores = gateway.results.stores
    plan = plan_images(asked, gateway.stages.model(), gateway.settings.max_request_pixels, stores=stores)
    told = await tell(plan, call, gateway, place)
    if action is not None:
        decision = told.allowed.decision.model_copy(update={"action": action})
        told = replace(told, allowed=replace(told.allowed, decision=decision))
    call.seconds["total"] = time.perf_counter() - call.began
    return Drawing(plan, told, answer(asked, plan, told, call), headers(plan, told, call))


async def count(drawing: Drawing, request_id: str, tenant: str, gateway: Gateway) -> None:
    """Writes down what a request that is no job has cost; a picture that is drawn is given away all the same."""
    entry = usage_of(drawing, request_id, tenant)
    if not entry.compute_units:
        gateway.records.usage.record_soon(entry)
        return
    try:
        await gateway.records.usage.record(entry)
    except RecordsUnavailable:
        logger.warning("usage was not written down", extra={"request_id": request_id})


def usage_of(drawing: Drawing, work_id: str, tenant: str) -> UsageEntry:
    """What a finished request or job cost and brought; what was drawn before, or for another, costs nothing."""
    plan = drawing.plan
    drew = drawing.told.source in (Source.DRAWN, Source.FRESH)
    return UsageEntry(
        work_id=work_id,
        tenant=tenant,
        model_digest=plan.model.digest,
        variant=plan.model.name,
        compute_units=compute_units(plan) if drew else 0.0,
        pixels=plan.frames * plan.size.width * plan.size.height if drew else 0,
        pictures=plan.images,
    )


def answer(asked: GenerateImages, plan: Plan, told: Told, call: Call) -> ImagesResponse:
    """The body of a finished story."""
    decision = told.allowed.decision
    revised = told.allowed.prompt if decision.action is Action.REDACT else None
    facts = GenerationFacts(
        request_id=call.request_id,
        drawn_by=told.result.facts.request_id,
        source=told.source,
        trace_id=trace_id(),
        model=told.result.facts.model,
        model_digest=told.result.facts.model_digest,
        steps=plan.steps,
        guidance_scale=plan.guidance_scale,
        candidates=plan.candidates,
        loras=told.result.facts.loras,
        images=[
            ImageFacts(
                seed=each.seed,
                candidate=each.frame % plan.candidates,
                total=each.judgement.total,
                scores=_finite(each.judgement.scores),
            )
            for each in told.result.facts.chosen
        ],
        safety=decision.action,
        policy=decision.policy,
        seconds={name: round(seconds, 4) for name, seconds in call.seconds.items()},
    )
    return ImagesResponse(
        created=told.result.facts.created,
        data=[
            Image(b64_json=base64.b64encode(picture).decode("ascii"), revised_prompt=revised)
            for picture in told.result.pictures
        ],
        output_format=plan.output_format,
        quality=plan.quality.value,
        safety_identifier=asked.end_user,
        size=str(plan.size),
        bowerbird=facts,
    )


def headers(plan: Plan, told: Told, call: Call) -> dict[str, str]:
    """Model, seeds, scores and times, in the order of the pictures.

    `Bowerbird-Scores` is a structured field (RFC 9651): a list of totals, each with its scores as parameters.
    """
    chosen = told.result.facts.chosen
    return {
        "ETag": told.result.entity_tag,
        "Cache-Status": CACHE_STATUS[told.source],
        "Bowerbird-Model-Digest": plan.model.digest,
        "Bowerbird-Seeds": ", ".join(str(each.seed) for each in chosen),
        "Bowerbird-Scores": ", ".join(_scores(each.judgement) for each in chosen),
        "Server-Timing": ", ".join(f"{name};dur={value * 1000:.1f}" for name, value in call.seconds.items()),
    }


def _scores(judgement: FrameJudgement) -> str:
    parameters = [f"{_key(score)}={score.value:.3f}" for score in _finite(judgement.scores)]
    return ";".join([f"{judgement.total:.3f}", *parameters])


def _finite(scores: list[Score]) -> list[Score]:
    """Scores that are numbers in JSON too: neither it nor a structured field has a word for infinity."""
    return [score for score in scores if math.isfinite(score.value)]


def _key(score: Score) -> str:
    return _NOT_A_KEY_CHARACTER.sub("_", score.name.lower())
