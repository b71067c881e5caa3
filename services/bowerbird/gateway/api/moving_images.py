"""`POST /v1/images/generations` for pictures that move: `output_format` gif, or webp with a frame count or duration.

It is a clip like those of `/v1/videos`, and so always a job: answered with its file when that is there, or with the job
where the caller prefers that. When the client leaves, the job goes on.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from bowerbird.contracts import MAX_CLIPS, ClipFormat, MotionDescription
from bowerbird.errors import FieldUnknown, RequestInvalid
from bowerbird.gateway.api.accepting import Acceptance, Wanted, awaited, job_of
from bowerbird.gateway.api.clip_drawing import wanted_clip
from bowerbird.gateway.api.image_request import GenerateImages, ImageFormat, Quality
from bowerbird.gateway.call import Call
from bowerbird.gateway.clips.request import DEFAULT_QUALITY, ClipRequest
from bowerbird.gateway.gateway import Gateway
from bowerbird.gateway.plan import QUALITY, Effort
from bowerbird.gateway.results.lookup import Cache

DEFAULT_FRAMES, DEFAULT_DURATION_MS = 9, 200
"""OpenAI's."""
AT_ONCE = Acceptance(key=None, respond_async=False, wait_seconds=0.0)


async def draw_moving(
    request: Request, call: Call, asked: GenerateImages, gateway: Gateway, acceptance: Acceptance | None
) -> Response:
    """The clip in the shape of pictures, or its job; raises what a clip's acceptance and its job may raise."""
    refuse_unless_one_clip(asked)

    async def wanted() -> Wanted:
        return await wanted_clip(clip_of(asked, await gateway.animators.model(call)), call, gateway)

    accepted = acceptance or AT_ONCE
    job_id = await job_of(request, call, accepted.key, asked.as_stated, wanted)
    return await awaited(request, call, job_id, accepted)


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
