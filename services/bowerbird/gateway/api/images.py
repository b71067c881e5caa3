"""`POST /v1/images/generations`: what was asked becomes a plan, the story draws it, the answer says how it was made.

The body is OpenAI's `ImagesResponse` with one key of ours, `bowerbird`, for what a caller needs to draw the same
picture again or to find it in a trace. The same facts stand in headers, for those who only keep the picture.
"""

from __future__ import annotations

import base64
import math
import re
import time
from typing import Literal

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from bowerbird.contracts import Action, Digest, FrameJudgement, OutputFormat, PolicyReference, Score
from bowerbird.gateway.api.arrival import arrive
from bowerbird.gateway.api.body import ResponseBody, read_json
from bowerbird.gateway.api.image_request import GenerateImages
from bowerbird.gateway.call import Call
from bowerbird.gateway.hang_up import unless_hung_up
from bowerbird.gateway.plan import Plan, plan_images
from bowerbird.gateway.story import Told, tell
from bowerbird.telemetry import trace_id

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

    created: int = Field(description="Unix seconds.")
    background: Literal["opaque"] = "opaque"
    data: list[Image]
    output_format: OutputFormat
    quality: Literal["low", "medium", "high", "xhigh", "max"] = Field(description="What `auto` became.")
    safety_identifier: str | None = Field(default=None, description="The effective one of the request.")
    size: str = Field(description="WIDTHxHEIGHT in pixels.")
    bowerbird: GenerationFacts


async def generate(request: Request) -> Response:
    """Draws what the body asks for."""
    gateway, call = arrive(request)
    asked = await read_json(request, GenerateImages)
    plan = plan_images(asked, gateway.stages.model(), gateway.settings.max_request_pixels)
    told = await unless_hung_up(request, tell(plan, call, gateway))
    call.seconds["total"] = time.perf_counter() - call.began
    body = answer(asked, plan, told, call)
    return Response(body.model_dump_json(), 200, headers(plan, told, call), "application/json")


def answer(asked: GenerateImages, plan: Plan, told: Told, call: Call) -> ImagesResponse:
    """The body of a finished story."""
    decision = told.allowed.decision
    revised = told.allowed.prompt if decision.action is Action.REDACT else None
    facts = GenerationFacts(
        request_id=call.request_id,
        trace_id=trace_id(),
        model=told.drawn.done.model,
        model_digest=told.drawn.done.digest,
        steps=plan.steps,
        guidance_scale=plan.guidance_scale,
        candidates=plan.candidates,
        loras=told.drawn.done.loras,
        images=[
            ImageFacts(
                seed=each.seed,
                candidate=each.frame % plan.candidates,
                total=each.judgement.total,
                scores=_finite(each.judgement.scores),
            )
            for each in told.chosen
        ],
        safety=decision.action,
        policy=decision.policy,
        seconds={name: round(seconds, 4) for name, seconds in _seconds(told, call).items()},
    )
    return ImagesResponse(
        created=int(time.time()),
        data=[
            Image(b64_json=base64.b64encode(picture).decode("ascii"), revised_prompt=revised)
            for picture in told.pictures
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
    return {
        "Bowerbird-Model-Digest": plan.model.digest,
        "Bowerbird-Seeds": ", ".join(str(each.seed) for each in told.chosen),
        "Bowerbird-Scores": ", ".join(_scores(each.judgement) for each in told.chosen),
        "Server-Timing": ", ".join(f"{name};dur={value * 1000:.1f}" for name, value in _seconds(told, call).items()),
    }


def _seconds(told: Told, call: Call) -> dict[str, float]:
    phases = {f"draw.{phase}": seconds for phase, seconds in told.drawn.done.seconds.items()}
    return {**call.seconds, **phases}


def _scores(judgement: FrameJudgement) -> str:
    parameters = [f"{_key(score)}={score.value:.3f}" for score in _finite(judgement.scores)]
    return ";".join([f"{judgement.total:.3f}", *parameters])


def _finite(scores: list[Score]) -> list[Score]:
    """Scores that are numbers in JSON too: neither it nor a structured field has a word for infinity."""
    return [score for score in scores if math.isfinite(score.value)]


def _key(score: Score) -> str:
    return _NOT_A_KEY_CHARACTER.sub("_", score.name.lower())
