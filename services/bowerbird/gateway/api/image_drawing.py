"""How a request for pictures is drawn and answered: it becomes a plan, the story draws it, the answer says how.

`images` asks for whoever waits, `job_drawing` for a job; `edit_drawing` tells the story of edits. The body is OpenAI's
`ImagesResponse` with one key of ours, `bowerbird`, for what a caller needs to draw the same picture again or to find it
in a trace. The same facts stand in headers, for those who only keep the picture.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from typing import Literal

from pydantic import Field

from bowerbird.contracts import (
    MAX_CLIP_FRAMES,
    MAX_FRAMES_PER_SECOND,
    Action,
    Digest,
    PolicyReference,
    Score,
    SpeciesCheck,
    SpeciesOrigin,
)
from bowerbird.errors import TierExceeded
from bowerbird.gateway.admission.admission import Tell
from bowerbird.gateway.api.body import ResponseBody
from bowerbird.gateway.api.edit_request import EditImages
from bowerbird.gateway.api.image_request import GenerateImages, ImageRequest
from bowerbird.gateway.call import Call
from bowerbird.gateway.gateway import Gateway
from bowerbird.gateway.plan import Plan, compute_units, plan_edit, plan_images
from bowerbird.gateway.records.usage import UsageEntry
from bowerbird.gateway.results.metrics import Source
from bowerbird.gateway.story import Told, tell
from bowerbird.telemetry import trace_id

CACHE_STATUS = {
    Source.STORED: "bowerbird; hit",
    Source.SHARED: "bowerbird; fwd=miss; collapsed",
    Source.DRAWN: "bowerbird; fwd=miss",
    Source.FRESH: "bowerbird; fwd=request",
}
"""RFC 9211: what the result store did for this answer."""

_NOT_A_KEY_CHARACTER = re.compile(r"[^a-z0-9_.*-]")


class AnswerFormat(StrEnum):
    """How what is answered is encoded: of mp4 and gif, and of webp with `clip`, it moves."""

    PNG = "png"
    WEBP = "webp"
    JPEG = "jpeg"
    GIF = "gif"
    MP4 = "mp4"


class Image(ResponseBody):
    """One picture."""

    b64_json: str = Field(description="The encoded and signed picture, base64.")
    revised_prompt: str | None = Field(
        default=None,
        description="What was drawn instead, where personal data was taken out of the prompt; of a species, the prompt "
        "that its names became.",
    )

    def json_pieces(self) -> list[bytes]:
        """As `model_dump_json`, without looking through the picture for characters to escape: base64 has none. Not yet
        joined, so that it is copied once on its way out."""
        rest = self.model_dump_json(exclude={"b64_json"}).encode()
        return [b'{"b64_json":"', self.b64_json.encode("ascii"), b'",', rest[1:]]


class ImageFacts(ResponseBody):
    """How one picture came to be."""

    seed: int = Field(description="Send it as `seed` with n 1 and candidates 1 to draw this picture again.")
    candidate: int = Field(description="Which candidate was chosen, from 0.")
    total: float = Field(description="What candidates were ranked by.")
    scores: list[Score] = Field(description="Each with its version, direction and range.")
    species_check: SpeciesCheck | None = Field(
        default=None, description="Whether it shows the species, where it was asked for as one."
    )


class ClipFacts(ResponseBody):
    """How a clip moves."""

    frames: int = Field(ge=1, le=MAX_CLIP_FRAMES, description="It has so many frames.", examples=[72])
    drawn_frames: int = Field(
        ge=1,
        le=MAX_CLIP_FRAMES,
        description="So many were drawn, at the rate that the model was taught. Fewer than `frames`: each of the "
        "others lies between two of those, in latent space. More: some were left out.",
        examples=[24],
    )
    fps: float = Field(ge=1, le=MAX_FRAMES_PER_SECOND, description="Frames a second.", examples=[24.0])
    duration_seconds: float = Field(ge=0, le=MAX_CLIP_FRAMES, description="How long it is.", examples=[3.0])
    loop: bool = Field(description="Whether the last frame goes over into the first.", examples=[False])


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
    clip: ClipFacts | None = Field(default=None, description="How it moves; null for pictures that do not.")
    safety: Action = Field(description="What safety did with the prompt: allow, flag or redact.")
    policy: PolicyReference = Field(description="Which safety policy decided.")
    species: SpeciesOrigin | None = Field(
        default=None, description="Template, family and LoRA, where it was asked for as one of a species."
    )
    seconds: dict[str, float] = Field(description="By stage; stages overlap: judge and check_images begin with draw.")


class ImagesResponse(ResponseBody):
    """OpenAI's answer, with ours under `bowerbird`."""

    created: int = Field(description="Unix seconds when the pictures were drawn.")
    background: Literal["opaque"] = "opaque"
    data: list[Image]
    output_format: AnswerFormat
    quality: Literal["low", "medium", "high", "xhigh", "max"] = Field(description="What `auto` became.")
    safety_identifier: str | None = Field(default=None, description="The effective one of the request.")
    size: str = Field(description="WIDTHxHEIGHT in pixels.")
    bowerbird: GenerationFacts

    def to_json(self) -> bytes:
        """The body as it is sent; the pictures, which are nearly all of it, are copied and not read."""
        rest = self.model_dump_json(exclude={"data"}).encode()
        pieces = [b'{"data":[']
        for number, image in enumerate(self.data):
            pieces += [b"," if number else b"", *image.json_pieces()]
        return b"".join((*pieces, b"],", rest[1:]))


@dataclass(frozen=True)
class Drawing:
    """A finished story and how it is answered; who has the picture already is answered without a body."""

    asked: ImageRequest
    plan: Plan
    told: Told
    call: Call

    @cached_property
    def body(self) -> ImagesResponse:
        """The answer's JSON."""
        return answer(self.asked, self.plan, self.told, self.call)

    @cached_property
    def headers(self) -> dict[str, str]:
        """The answer's headers."""
        return headers(self.plan, self.told, self.call)


async def plan_of(asked: GenerateImages | EditImages, call: Call, gateway: Gateway) -> Plan:
    """What will be drawn, by the model that is served now.

    Raises what `plan_images` raises, TierExceeded for a picture larger than the tenant's, or StageUnavailable.
    """
    model, max_pixels = await gateway.demand.waking.model(call), gateway.settings.max_request_pixels
    if isinstance(asked, EditImages):
        plan = plan_edit(asked, model, max_pixels)
    else:
        stores = gateway.results.stores
        plan = plan_images(asked, model, max_pixels, stores=stores, any_by_default=call.any_by_default)
    pixels = plan.size.width * plan.size.height
    if call.picture_pixels is not None and pixels > call.picture_pixels:
        raise TierExceeded(
            f"size: {plan.size} has {pixels} pixels. Accepted by your tier: up to {call.picture_pixels}.", param="size"
        )
    return plan


async def draw_images(
    asked: GenerateImages, call: Call, gateway: Gateway, place: Tell | None = None, action: Action | None = None
) -> Drawing:
    """The story of a request, or of the job that it became, with its answer.

    `action` is what safety did with a job's prompt when it was accepted: what is drawn is what it left of it.
    """
    plan = await plan_of(asked, call, gateway)
    call = replace(call, person=gateway.records.people.name(call.flow, asked.end_user))
    told = await tell(plan, call, gateway, place)
    call.seconds["total"] = time.perf_counter() - call.began
    return Drawing(asked, plan, as_accepted(told, action), call)


def as_accepted(told: Told, action: Action | None) -> Told:
    """The story as that of a job whose prompt safety did this with when it was accepted; None: it is no job's."""
    if action is None:
        return told
    decision = told.allowed.decision.model_copy(update={"action": action})
    return replace(told, allowed=replace(told.allowed, decision=decision))


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


def answer(asked: ImageRequest, plan: Plan, told: Told, call: Call) -> ImagesResponse:
    """The body of a finished story."""
    decision = told.allowed.decision
    was_rewritten = decision.action is Action.REDACT or plan.species is not None
    revised = told.allowed.prompt if was_rewritten else None
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
                scores=finite(each.judgement.scores),
                species_check=each.judgement.species,
            )
            for each in told.result.facts.chosen
        ],
        safety=decision.action,
        policy=decision.policy,
        species=None if plan.species is None else plan.species.origin,
        seconds={name: round(seconds, 4) for name, seconds in call.seconds.items()},
    )
    return ImagesResponse(
        created=told.result.facts.created,
        data=[Image(b64_json=encoded.decode("ascii"), revised_prompt=revised) for encoded in told.result.encoded],
        output_format=AnswerFormat(plan.output_format),
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
        "Bowerbird-Scores": ", ".join(scores_header(each.judgement.total, each.judgement.scores) for each in chosen),
        "Server-Timing": server_timing(call.seconds),
    }


def server_timing(seconds: Mapping[str, float]) -> str:
    """The header of that name: milliseconds by stage."""
    return ", ".join(f"{name};dur={value * 1000:.1f}" for name, value in seconds.items())


def scores_header(total: float, scores: list[Score]) -> str:
    """One picture's, or clip's, item of `Bowerbird-Scores`."""
    return ";".join([f"{total:.3f}", *(f"{_key(score)}={score.value:.3f}" for score in finite(scores))])


def finite(scores: list[Score]) -> list[Score]:
    """Scores that are numbers in JSON too: neither it nor a structured field has a word for infinity."""
    return [score for score in scores if math.isfinite(score.value)]


def _key(score: Score) -> str:
    return _NOT_A_KEY_CHARACTER.sub("_", score.name.lower())
