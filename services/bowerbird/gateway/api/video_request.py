"""The body of `POST /v1/videos`: OpenAI's fields, ours beside them, and nothing else.

OpenAI's client sends it as a form, whose values are text and whose `input_reference` is a file; JSON is read as well,
and means the same.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import Field, ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from bowerbird.contracts import (
    MAX_CLIPS,
    MAX_FILE_BYTES,
    MAX_FRAMES_PER_SECOND,
    MAX_SEED,
    MAX_STEPS,
    ClipFormat,
)
from bowerbird.errors import FieldUnknown, RequestInvalid
from bowerbird.gateway.api.body import MAX_JSON_BYTES, RequestBody, bounded, read_json, refusal, unknown_field
from bowerbird.gateway.api.edit_request import MAX_FIELDS, MAX_FORM_BYTES
from bowerbird.gateway.api.image_request import Identifier, ImageRequest, Text
from bowerbird.gateway.api.operation import FORM
from bowerbird.gateway.api.video_reference import (
    FILE_ID,
    IMAGE_URL,
    MAX_URL_CHARACTERS,
    DataUrl,
    Reference,
    decoded,
    reference_of,
)
from bowerbird.gateway.clips.beginning import FIELD
from bowerbird.gateway.clips.plan import USUAL_STRENGTH
from bowerbird.gateway.clips.request import DEFAULT_QUALITY, MAX_SECONDS, MIN_SECONDS, ClipBeginning, ClipRequest

MIN_FRAMES_PER_SECOND = 8

_REFERENCES: Mapping[str, str | None] = {
    FIELD: None,
    **{f"{FIELD}[{key}]": key for key in (IMAGE_URL, FILE_ID)},
}
"""How a form names the picture, or a key of what refers to it."""
_File = Annotated[str, Field(json_schema_extra={"contentMediaType": "application/octet-stream"})]
_LONG = f"a clip is {MIN_SECONDS:g} to {MAX_SECONDS:g} seconds long"


class CreateVideo(RequestBody):
    """Draw a clip of a prompt."""

    prompt: Text = Field(
        description="What to draw and how it moves; safety looks at it before anything is computed. Of a model that "
        "draws from a picture alone it chooses among the candidates, and no more.",
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
        description="Frames a second. More than the model was taught are interpolated, and of fewer some are left out: "
        "`drawn_frames` says how many were drawn.",
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
    input_reference: DataUrl | None = Field(
        default=None,
        description="The picture that the clip begins with, as a data URL; a form has its file. It is turned as its "
        "EXIF says, laid on white where it is transparent, scaled to cover the size that is drawn, and cut around its "
        "middle; and kept with the clip, as long as that is.",
        examples=[None],
    )
    strength: float | None = Field(
        default=None,
        gt=0,
        le=1,
        allow_inf_nan=False,
        description="How far the frames may go from `input_reference`: the part of the steps that are made, so at "
        f"least 1 / steps. {USUAL_STRENGTH:g} when absent; of a model that draws from a picture alone it is 1.",
    )

    NOT_HERE: ClassVar[Mapping[str, str]] = {
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
    PERSONAL: ClassVar[frozenset[str]] = frozenset({"prompt", "negative_prompt", "safety_identifier", FIELD})


class CreateVideoForm(CreateVideo):
    """Draw a clip of a prompt; the form, for the OpenAPI document."""

    input_reference: _File | None = Field(
        default=None, description="The picture that the clip begins with: one PNG, JPEG or WebP.", examples=[None]
    )


@dataclass(frozen=True, slots=True)
class AskedVideo:
    """A request for a clip, and the picture that came with it."""

    fields: CreateVideo
    picture: Reference | None

    @property
    def as_stated(self) -> bytes:
        """What an Idempotency-Key stands for: the request as it was sent, and the picture's bytes."""
        if self.picture is None:
            return self.fields.model_dump_json(exclude={FIELD, "strength"}).encode()
        return f"{self.fields.model_dump_json(exclude={FIELD})}\n{self.picture.digest}".encode()

    def clip(self) -> ClipRequest:
        """The clip that it asks for."""
        asked = self.fields
        return ClipRequest(
            **asked.model_dump(exclude={"seconds", "fps", "strength", FIELD}),
            frames=round(asked.seconds * asked.fps),
            frames_per_second=asked.fps,
            beginning=None if self.picture is None else ClipBeginning(strength=asked.strength),
        )


@asynccontextmanager
async def read_video(request: Request) -> AsyncIterator[AskedVideo]:
    """What the form, or the JSON, asks for; the picture is forgotten when the context ends.

    Raises BodyTooLarge, BodyTooSlow, RequestInvalid or FieldUnknown, naming the field.
    """
    fields, picture = await _read(request)
    try:
        if picture is None and fields.strength is not None:
            fact = f"strength has no effect without {FIELD}. Accepted: with the picture that the clip begins with."
            raise FieldUnknown(fact, param="strength")
        yield AskedVideo(fields, picture)
    finally:
        if picture is not None:
            await picture.close()


async def _read(request: Request) -> tuple[CreateVideo, Reference | None]:
    if not request.headers.get("content-type", "").lower().startswith(FORM):
        return await _taken_out(await read_json(request, CreateVideo, MAX_JSON_BYTES + MAX_URL_CHARACTERS))
    try:
        form = await MultiPartParser(
            request.headers,
            bounded(request, MAX_FORM_BYTES + MAX_URL_CHARACTERS - MAX_FILE_BYTES),
            max_files=1,
            max_fields=MAX_FIELDS,
            max_part_size=MAX_URL_CHARACTERS,
        ).parse()
    except MultiPartException as error:
        raise RequestInvalid(f"The form cannot be read: {error.message}") from error
    try:
        return await _of_form(form)
    except BaseException:
        await form.close()
        raise


async def _of_form(form: FormData) -> tuple[CreateVideo, Reference | None]:
    stated: dict[str, Any] = {}
    file: UploadFile | None = None
    for part, value in form.multi_items():
        name = FIELD if part in _REFERENCES else part
        if name in stated or (name == FIELD and file is not None):
            raise RequestInvalid(f"{name}: it was sent more than once. Accepted: one {name}.", param=name)
        if not isinstance(value, UploadFile):
            stated[name] = {_REFERENCES[part]: value} if _REFERENCES.get(part) else value
        elif part == FIELD:
            file = value
        else:
            raise _no_file(part)
    try:
        asked = CreateVideo.model_validate_strings(stated, strict=False)
    except ValidationError as error:
        raise refusal(error.errors(include_url=False)[0], CreateVideo) from None
    return (asked, await reference_of(file)) if file is not None else await _taken_out(asked)


async def _taken_out(asked: CreateVideo) -> tuple[CreateVideo, Reference | None]:
    """The picture apart from the fields: its text is not held any longer than it takes to read it."""
    if asked.input_reference is None:
        return asked, None
    return asked.model_copy(update={FIELD: None}), await decoded(asked.input_reference)


def _no_file(name: str) -> RequestInvalid:
    if name in CreateVideo.model_fields:
        return RequestInvalid(f"{name}: a file is not accepted. Accepted: text.", param=name)
    return unknown_field(name.partition("[")[0], CreateVideo)
