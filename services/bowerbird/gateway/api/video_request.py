"""The body of `POST /v1/videos`: OpenAI's fields, ours beside them, and nothing else.

OpenAI's client sends it as a form, whose values are text; JSON is read as well, and means the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field, ValidationError
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from bowerbird.contracts import MAX_CLIPS, MAX_FRAMES_PER_SECOND, MAX_SEED, MAX_STEPS, ClipFormat
from bowerbird.errors import RequestInvalid
from bowerbird.gateway.api.body import RequestBody, bounded, read_json, refusal, unknown_field
from bowerbird.gateway.api.edit_request import MAX_FIELDS, MAX_FORM_BYTES
from bowerbird.gateway.api.image_request import Identifier, ImageRequest, Text
from bowerbird.gateway.api.operation import FORM
from bowerbird.gateway.clips.request import DEFAULT_QUALITY, ClipRequest

MIN_SECONDS, MAX_SECONDS = 2.0, 5.0
MIN_FRAMES_PER_SECOND = 8

_LONG = f"a clip is {MIN_SECONDS:g} to {MAX_SECONDS:g} seconds long"


class CreateVideo(RequestBody):
    """Draw a clip of a prompt."""

    prompt: Text = Field(
        description="What to draw and how it moves; safety looks at it before anything is computed.",
        examples=["a cardinal taking off, winter"],
    )
    model: str | None = Field(
        default=None, max_length=200, description="The model that moves pictures here when absent."
    )
    seconds: float = Field(
        default=4.0,
        ge=MIN_SECONDS,
        le=MAX_SECONDS,
        allow_inf_nan=False,
        description="How long it is; rounded to whole frames.",
        examples=[3.0],
    )
    size: str = Field(
        default="auto",
        pattern=r"^(auto|[1-9][0-9]{0,3}x[1-9][0-9]{0,3})$",
        description="WIDTHxHEIGHT in pixels, one of the model's sizes; `auto` is its first.",
        examples=["auto"],
    )
    fps: int = Field(
        default=24,
        ge=MIN_FRAMES_PER_SECOND,
        le=MAX_FRAMES_PER_SECOND,
        description="Frames a second. More than the model was taught are interpolated: `drawn_frames` says how many "
        "were drawn.",
        examples=[24],
    )
    format: ClipFormat = Field(default=ClipFormat.MP4, description="mp4 is AV1.", examples=["mp4"])
    quality: int = Field(
        default=DEFAULT_QUALITY, ge=0, le=100, description="Of the encoder, of mp4 and webp.", examples=[80]
    )
    loop: bool = Field(default=False, description="Whether the last frame goes over into the first.", examples=[False])
    seed: int | None = Field(
        default=None, ge=0, le=MAX_SEED, description="Same seed, same clip. A fresh one when absent."
    )
    negative_prompt: Text | None = Field(
        default=None, description="What to keep away from; needs a guidance_scale above 1."
    )
    steps: int | None = Field(
        default=None, ge=1, le=MAX_STEPS, description="Denoising steps; the model's default when absent."
    )
    guidance_scale: float | None = Field(
        default=None,
        ge=1,
        le=20,
        allow_inf_nan=False,
        description="How closely to follow the prompt; 1 means without guidance. The model's default when absent.",
    )
    candidates: int = Field(default=1, ge=1, le=MAX_CLIPS, description="Draw so many and keep the best.", examples=[1])
    safety_identifier: Identifier | None = Field(default=None, description="A stable, hashed name of your end user.")

    NOT_HERE: ClassVar[Mapping[str, str]] = {
        "input_reference": "a clip begins with noise, since what is uploaded is not kept for a job",
        "lora": "LoRAs take part in /v1/images/generations",
        **{f"seconds={each}": _LONG for each in ("8", "12", "8.0", "12.0")},
    }
    ACCEPTED: ClassVar[Mapping[str, str]] = {
        "prompt": ImageRequest.ACCEPTED["prompt"],
        "negative_prompt": ImageRequest.ACCEPTED["negative_prompt"],
        "size": "Accepted: 'auto' or WIDTHxHEIGHT in pixels, one of the model's sizes",
        "seconds": f"Accepted: {MIN_SECONDS:g} to {MAX_SECONDS:g}",
        "fps": f"Accepted: {MIN_FRAMES_PER_SECOND} to {MAX_FRAMES_PER_SECOND}",
    }
    PERSONAL: ClassVar[frozenset[str]] = frozenset({"prompt", "negative_prompt", "safety_identifier"})

    def clip(self) -> ClipRequest:
        """The clip that it asks for."""
        fields = self.model_dump(exclude={"seconds", "fps"})
        return ClipRequest(**fields, frames=round(self.seconds * self.fps), frames_per_second=self.fps)


async def read_video(request: Request) -> CreateVideo:
    """What the form, or the JSON, asks for.

    Raises BodyTooLarge, BodyTooSlow, RequestInvalid or FieldUnknown, naming the field.
    """
    if not request.headers.get("content-type", "").lower().startswith(FORM):
        return await read_json(request, CreateVideo)
    try:
        form = await MultiPartParser(
            request.headers, bounded(request, MAX_FORM_BYTES), max_files=1, max_fields=MAX_FIELDS
        ).parse()
    except MultiPartException as error:
        raise RequestInvalid(f"The form cannot be read: {error.message}") from error
    fields: dict[str, str] = {}
    try:
        for name, value in form.multi_items():
            if isinstance(value, UploadFile):
                raise _no_file(name)
            if name in fields:
                raise RequestInvalid(f"{name}: it was sent more than once. Accepted: one {name}.", param=name)
            fields[name] = value
    finally:
        await form.close()
    try:
        return CreateVideo.model_validate_strings(fields, strict=False)
    except ValidationError as error:
        raise refusal(error.errors(include_url=False)[0], CreateVideo) from None


def _no_file(name: str) -> RequestInvalid:
    if name in CreateVideo.model_fields:
        return RequestInvalid(f"{name}: a file is not accepted. Accepted: text.", param=name)
    return unknown_field(name.partition("[")[0], CreateVideo)
