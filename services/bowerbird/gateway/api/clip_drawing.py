"""How a request for a clip is accepted, drawn and answered: the counterpart of `image_drawing` for moving pictures.

A clip is always a job. Its result is kept in the shape of pictures, so that `/v1/jobs/{job}/result`, a request for
moving pictures that waits for its answer, and `/v1/videos` are views of one thing.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cached_property, partial

from bowerbird.contracts import Action
from bowerbird.errors import TierExceeded
from bowerbird.gateway.admission.admission import Tell
from bowerbird.gateway.api.accepting import Settled, Wanted
from bowerbird.gateway.api.image_drawing import (
    AnswerFormat,
    ClipFacts,
    GenerationFacts,
    Image,
    ImageFacts,
    ImagesResponse,
    finite,
    scores_header,
    server_timing,
)
from bowerbird.gateway.call import Call
from bowerbird.gateway.clips.beginning import begun
from bowerbird.gateway.clips.endpoints import CHAIN
from bowerbird.gateway.clips.plan import Bounds, ClipPlan, compute_units, plan_clip, refuse_beyond
from bowerbird.gateway.clips.request import ClipRequest
from bowerbird.gateway.clips.story import Clip, tell_clip
from bowerbird.gateway.editing import LOOKERS, Read
from bowerbird.gateway.gateway import Gateway
from bowerbird.gateway.jobs.request import clip_job_request
from bowerbird.gateway.prompt_length import require_readable
from bowerbird.gateway.records.job import JobKind
from bowerbird.gateway.records.usage import UsageEntry
from bowerbird.gateway.results.metrics import Source
from bowerbird.gateway.story import Allowed
from bowerbird.gateway.upstream import Stage
from bowerbird.telemetry import trace_id

KIND = JobKind.CLIP
"""How the ids of clips begin."""


@dataclass(frozen=True)
class ClipDrawing:
    """A finished story and how it is answered."""

    asked: ClipRequest
    plan: ClipPlan
    clip: Clip
    call: Call
    action: Action
    """What safety did with the prompt as it came."""

    @cached_property
    def body(self) -> ImagesResponse:
        """The answer's JSON, without the file."""
        plan, clip, done = self.plan, self.clip, self.clip.drawn.done
        decision = clip.allowed.decision
        facts = GenerationFacts(
            request_id=self.call.request_id,
            drawn_by=self.call.request_id,
            source=Source.FRESH,
            trace_id=trace_id(),
            model=done.model,
            model_digest=done.digest,
            steps=plan.steps,
            guidance_scale=plan.guidance_scale,
            candidates=plan.candidates,
            loras={},
            images=[
                ImageFacts(
                    seed=clip.seed,
                    candidate=clip.scores.index,
                    total=clip.scores.total,
                    scores=finite(clip.scores.scores),
                )
            ],
            clip=ClipFacts(
                frames=plan.frames,
                drawn_frames=plan.drawn_frames,
                fps=plan.frames_per_second,
                duration_seconds=round(plan.seconds, 3),
                loop=plan.loop,
            ),
            safety=self.action,
            policy=decision.policy,
            seconds={name: round(seconds, 4) for name, seconds in self.call.seconds.items()},
        )
        return ImagesResponse(
            created=int(time.time()),
            data=[Image(b64_json="", revised_prompt=clip.allowed.prompt if self.action is Action.REDACT else None)],
            output_format=AnswerFormat(plan.format),
            quality="medium",
            safety_identifier=self.asked.safety_identifier,
            size=str(plan.size),
            bowerbird=facts,
        )

    @cached_property
    def headers(self) -> dict[str, str]:
        """Model, seed, scores and times, as pictures have them."""
        scores = self.clip.scores
        return {
            "Bowerbird-Model-Digest": self.plan.model.digest,
            "Bowerbird-Seeds": str(self.clip.seed),
            "Bowerbird-Scores": scores_header(scores.total, scores.scores),
            "Server-Timing": server_timing(self.call.seconds),
        }


async def plan_of_clip(asked: ClipRequest, call: Call, gateway: Gateway) -> ClipPlan:
    """What will be drawn, by the model that moves pictures now.

    Raises what `plan_clip` and `refuse_beyond` raise, TierExceeded for frames larger than the tenant's pictures,
    FeatureUnavailable where nothing moves, or StageUnavailable.
    """
    plan = plan_clip(asked, await gateway.animators.model(call))
    pixels = plan.size.width * plan.size.height
    if call.picture_pixels is not None and pixels > call.picture_pixels:
        raise TierExceeded(
            f"size: {plan.size} has {pixels} pixels. Accepted by your tier: up to {call.picture_pixels}.", param="size"
        )
    refuse_beyond(Bounds(gateway.settings.max_clip_pixels, call.window_units), plan, asked.length_field)
    return plan


async def wanted_clip(asked: ClipRequest, call: Call, gateway: Gateway, read: Read | None = None) -> Wanted:
    """What is to become a job, where `read` gives the picture's file that it begins with.

    Raises what `plan_of_clip` raises.
    """
    plan = await plan_of_clip(asked, call, gateway)

    async def settle(allowed: Allowed) -> Settled:
        if plan.model.prompts:
            await require_readable(allowed, plan.model, Stage.ANIMATION, call, gateway)
        if read is not None:
            await begun(plan, read, call, gateway.upstream)
        return Settled(clip_job_request(asked, plan, allowed, call.locale), compute_units(plan))

    return Wanted(
        kind=KIND,
        plan=plan,
        chain=CHAIN,
        settle=settle,
        end_user=asked.safety_identifier,
        lookers=LOOKERS if read else LOOKERS[:1],
        begins_with=read,
    )


async def draw_clip(
    asked: ClipRequest, action: Action, call: Call, gateway: Gateway, place: Tell | None = None
) -> ClipDrawing:
    """The story of a job, whose id the call has, with its answer.

    `action` is what safety did with the prompt when it was accepted.
    """
    plan = await plan_of_clip(asked, call, gateway)
    read = None if asked.beginning is None else partial(gateway.records.uploads.read, call.request_id)
    clip = await tell_clip(plan, call, gateway, place, read)
    call.seconds["total"] = time.perf_counter() - call.began
    return ClipDrawing(asked, plan, clip, call, action)


def usage_of_clip(drawing: ClipDrawing, work_id: str, tenant: str, compute_units: float) -> UsageEntry:
    """What a finished clip cost and brought."""
    plan = drawing.plan
    return UsageEntry(
        work_id=work_id,
        tenant=tenant,
        model_digest=plan.model.digest,
        variant=plan.model.name,
        compute_units=compute_units,
        pixels=plan.all_pixels,
        pictures=1,
    )
