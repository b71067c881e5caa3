"""`POST /v1/images/generations` for pictures that move: `output_format` gif, or webp with a frame count or duration.

It is a clip like those of `/v1/videos`, and so always a job: answered with its file when that is there, or with the job
where the caller prefers that. Who sent a key, or prefers the job, can find it again, and it goes on when the client
leaves. The job of a plain request belongs to its connection, since nobody else learns of it: it ends with that.
"""

from __future__ import annotations

from contextlib import suppress

from starlette.requests import Request
from starlette.responses import Response

from bowerbird.contracts import MAX_CLIPS, ClipFormat, MotionDescription
from bowerbird.errors import (
    DeadlineExceeded,
    FieldUnknown,
    JobFinished,
    JobUnknown,
    RecordsUnavailable,
    RequestInvalid,
)
from bowerbird.gateway.admission.admission import stopping
from bowerbird.gateway.api.accepting import Acceptance, Wanted, awaited, job_of, waited_for
from bowerbird.gateway.api.clip_drawing import wanted_clip
from bowerbird.gateway.api.image_request import GenerateImages, ImageFormat, Quality
from bowerbird.gateway.api.job_body import result_response
from bowerbird.gateway.background import to_its_end
from bowerbird.gateway.call import Call
from bowerbird.gateway.clips.request import DEFAULT_QUALITY, ClipRequest
from bowerbird.gateway.gateway import Gateway
from bowerbird.gateway.plan import QUALITY, Effort
from bowerbird.gateway.results.lookup import Cache

DEFAULT_FRAMES, DEFAULT_DURATION_MS = 9, 200
"""OpenAI's."""


async def draw_moving(
    request: Request, call: Call, asked: GenerateImages, gateway: Gateway, acceptance: Acceptance | None
) -> Response:
    """The clip in the shape of pictures, or its job; raises what a clip's acceptance and its job may raise."""
    refuse_unless_one_clip(asked)

    async def wanted() -> Wanted:
        return await wanted_clip(clip_of(asked, await gateway.animators.model(call)), call, gateway)

    job_id = await job_of(request, call, acceptance.key if acceptance else None, asked.as_stated, wanted)
    return await (awaited(request, call, job_id, acceptance) if acceptance else _held(request, call, job_id, gateway))


async def _held(request: Request, call: Call, job_id: str, gateway: Gateway) -> Response:
    """The clip of a job that belongs to the connection: whatever ends the wait for it ends the job."""
    try:
        job = await waited_for(request, call, job_id)
        if not job.state.final and gateway.jobs.carrier.waits_in_vain(job_id):
            raise stopping()
        if not job.state.final:
            raise DeadlineExceeded("The deadline passed before the clip was finished.", retry_after_seconds=1)
    except BaseException:
        await to_its_end(_let_go(gateway, request.state.tenant, job_id))
        raise
    return await result_response(job, gateway)


async def _let_go(gateway: Gateway, tenant: str, job_id: str) -> None:
    with suppress(JobFinished, JobUnknown, RecordsUnavailable):  # what ended the wait is what the caller is told
        await gateway.jobs.cancel(tenant, job_id)


def refuse_unless_one_clip(asked: GenerateImages) -> None:
    """Raises FieldUnknown or RequestInvalid for fields that a clip takes otherwise than pictures, or not at all."""
    if asked.output_format in (ImageFormat.PNG, ImageFormat.JPEG):
        field = "frame_duration_ms" if asked.frame_count is None else "frame_count"
        raise FieldUnknown(
            f"{field} has no effect on {asked.output_format}. Accepted: with output_format gif or webp.", param=field
        )
    if asked.n > 1:
        raise RequestInvalid(f"n: {asked.n} clips are not drawn in one request. Accepted: 1.", param="n")
    if asked.stream:
        raise RequestInvalid("stream: a clip cannot be streamed. Accepted: false with gif or frames.", param="stream")
    if asked.partial_images is not None:
        raise FieldUnknown("partial_images has no effect on clips. Accepted: without it.", param="partial_images")
    if asked.lora:
        raise FieldUnknown("lora has no effect on clips. Accepted: pictures that do not move.", param="lora")
    if asked.cache is Cache.ANY:
        raise FieldUnknown("cache: a clip is always drawn. Accepted: 'auto', 'fresh'.", param="cache")
    if asked.output_format is ImageFormat.GIF and asked.output_compression is not None:
        raise FieldUnknown(
            "output_compression has no effect on gif. Accepted: with output_format webp or jpeg.",
            param="output_compression",
        )


def clip_of(asked: GenerateImages, model: MotionDescription) -> ClipRequest:
    """The clip that it asks for; `quality` sets steps and candidates as for pictures, but of at most MAX_CLIPS."""
    effort: Effort = QUALITY[Quality.MEDIUM if asked.quality is Quality.AUTO else asked.quality]
    candidates = asked.candidates or min(effort.candidates, MAX_CLIPS)
    if candidates > MAX_CLIPS:
        raise RequestInvalid(
            f"candidates: {candidates} is more than clips are drawn of. Accepted: 1 to {MAX_CLIPS}.", param="candidates"
        )
    return ClipRequest(
        prompt=asked.prompt,
        negative_prompt=asked.negative_prompt,
        model=asked.model,
        size=asked.size,
        frames=asked.frame_count or DEFAULT_FRAMES,
        frames_per_second=1000 / (asked.frame_duration_ms or DEFAULT_DURATION_MS),
        format=ClipFormat(asked.output_format),
        quality=DEFAULT_QUALITY if asked.output_compression is None else asked.output_compression,
        seed=asked.seed,
        steps=asked.steps or int(min(max(1, model.default_steps * effort.steps_factor), model.max_steps)),
        guidance_scale=asked.guidance_scale,
        candidates=candidates,
        safety_identifier=asked.end_user,
        length_field="frame_count",
    )
