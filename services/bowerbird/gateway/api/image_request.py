"""The body of `POST /v1/images/generations`: OpenAI's fields, ours beside them, and nothing else.

`edit_request` has that of `/v1/images/edits`, which shares most of them (`ImageRequest`).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema, field_validator
from pydantic_core import PydanticCustomError

from bowerbird.contracts import (
    MAX_CANDIDATES,
    MAX_CLIP_FRAMES,
    MAX_IMAGES,
    MAX_LORA_WEIGHT,
    MAX_LORAS,
    MAX_PROMPT_CHARACTERS,
    MAX_SEED,
    MAX_STEPS,
    MIN_CLIP_FRAMES,
    LoraId,
)
from bowerbird.gateway.api.body import RequestBody
from bowerbird.gateway.results.lookup import Cache

MAX_PARTIAL_IMAGES = 3

Text = Annotated[str, Field(min_length=1, max_length=MAX_PROMPT_CHARACTERS, pattern=r"\S")]
Identifier = Annotated[str, Field(max_length=256)]

MOST_FRAMES_PER_SECOND_MS = 42
"""The shortest duration of a frame: `MAX_FRAMES_PER_SECOND`, in whole milliseconds."""

_ANIMATED = "moving pictures are drawn by /v1/images/generations"
_SVG = "vector output is not drawn by a diffusion model"


class Quality(StrEnum):
    """How much computing a picture gets; `bowerbird.gateway.plan.QUALITY` says how much."""

    AUTO = "auto"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    XHIGH = "xhigh"
    MAX = "max"


class ImageFormat(StrEnum):
    """How pictures are encoded, or one that moves."""

    PNG = "png"
    WEBP = "webp"
    JPEG = "jpeg"
    GIF = "gif"


# As it is read by clients of the time before gif: their enumeration, and one word more.
_PICTURE_OR_GIF = {
    "anyOf": [{"$ref": "#/components/schemas/OutputFormat"}, {"type": "string", "const": "gif"}, {"type": "null"}]
}


class NamedLora(BaseModel):
    """A LoRA of the model's folder and how strongly it takes part."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    id: LoraId = Field(description="Its name in /v1/loras, the file's name without `.safetensors`.")
    weight: float = Field(
        default=1.0,
        ge=-MAX_LORA_WEIGHT,
        le=MAX_LORA_WEIGHT,
        allow_inf_nan=False,
        description="1 is as it was taught; a negative weight turns its effect around.",
    )


class ImageRequest(RequestBody):
    """What is said of pictures however they begin."""

    prompt: Text = Field(
        description=f"What to draw, 1 to {MAX_PROMPT_CHARACTERS} characters, and at most as many tokens as the model "
        "reads (see /v1/models); longer prompts are refused, never cut.",
        examples=["an american robin perched on a branch in winter"],
    )
    model: str | None = Field(
        default=None, max_length=200, description="A name from /v1/models; the model that is served when absent."
    )
    n: int = Field(default=1, ge=1, le=MAX_IMAGES, description="How many pictures.")
    size: str = Field(
        default="auto",
        pattern=r"^(auto|[1-9][0-9]{0,3}x[1-9][0-9]{0,3})$",
        description="WIDTHxHEIGHT in pixels, one of the model's sizes (see /v1/models); `auto` is its first.",
        examples=["auto"],
    )
    quality: Quality = Field(
        default=Quality.AUTO,
        description="Sets `steps` and `candidates` where those are absent: low = half the model's default steps, "
        "medium and auto = the default steps, high = 1.5 times and the best of 2, xhigh = twice and the best of 4, "
        "max = as many steps as the model takes and the best of 8.",
    )
    output_compression: int | None = Field(
        default=None,
        ge=0,
        le=100,
        description="Encoder quality in percent, of webp and jpeg only; 100 when absent. Refused with png.",
    )
    response_format: Literal["b64_json"] = Field(default="b64_json", description="Pictures come in the answer.")
    background: Literal["auto", "opaque"] = Field(default="auto", description="Pictures are always opaque.")
    stream: bool = Field(
        default=False,
        description="Answer with server-sent events instead of one JSON object; with n 1 and candidates 1.",
    )
    partial_images: int | None = Field(
        default=None,
        ge=0,
        le=MAX_PARTIAL_IMAGES,
        description="How often to show the picture before it is finished, at most; none when absent. Needs `stream`.",
    )
    safety_identifier: Identifier | None = Field(
        default=None, description="A stable, hashed name of your end user; returned in the answer."
    )
    user: Identifier | None = Field(
        default=None, description="Deprecated name of `safety_identifier`; used where that is absent or empty."
    )
    seed: int | None = Field(
        default=None,
        ge=0,
        le=MAX_SEED,
        description="Same seed, same picture; candidate c of picture i has seed + i x candidates + c. A fresh one when "
        "absent.",
    )
    negative_prompt: Text | None = Field(
        default=None, description="What to keep away from; needs a guidance_scale above 1."
    )
    steps: int | None = Field(
        default=None, ge=1, le=MAX_STEPS, description="Denoising steps; wins over `quality`. At most the model's."
    )
    guidance_scale: float | None = Field(
        default=None,
        ge=1,
        le=20,
        allow_inf_nan=False,
        description="How closely to follow the prompt; 1 means without guidance. The model's default when absent.",
    )
    candidates: int | None = Field(
        default=None,
        ge=1,
        le=MAX_CANDIDATES,
        description="Draw so many for each picture and keep the best; wins over `quality`.",
    )
    NOT_HERE: ClassVar[Mapping[str, str]] = {
        "complexity": "there is no planning stage; use quality or steps",
        "frame_count": _ANIMATED,
        "frame_duration_ms": _ANIMATED,
        "style": "say the style in the prompt",
        "svg": _SVG,
        "output_format=gif": _ANIMATED,
        "output_format=svg": _SVG,
        "response_format=url": "pictures are not stored, they come in the answer",
        "background=transparent": "the model draws opaque pictures",
        "moderation=low": "safety is not the caller's to weaken",
        "quality=standard": "it belongs to a retired model",
        "quality=hd": "it belongs to a retired model",
    }
    ACCEPTED: ClassVar[Mapping[str, str]] = {
        "stream": "Accepted: true or false",
        "prompt": f"Accepted: 1 to {MAX_PROMPT_CHARACTERS} characters, not all of them spaces",
        "negative_prompt": f"Accepted: 1 to {MAX_PROMPT_CHARACTERS} characters, not all of them spaces",
        "size": "Accepted: 'auto' or WIDTHxHEIGHT in pixels, one of the sizes in /v1/models",
    }
    PERSONAL: ClassVar[frozenset[str]] = frozenset({"prompt", "negative_prompt", "safety_identifier", "user"})

    @property
    def end_user(self) -> str | None:
        """The effective safety identifier: `safety_identifier` when not empty, else `user`."""
        return self.safety_identifier or self.user or None


class GenerateImages(ImageRequest):
    """Draw `n` pictures of a prompt, or one that moves."""

    output_format: Annotated[ImageFormat, WithJsonSchema(_PICTURE_OR_GIF)] = Field(
        default=ImageFormat.PNG,
        description="How the pictures are encoded. gif moves, and webp does with `frame_count` or `frame_duration_ms`: "
        "with n 1, without `stream`, and drawn as a job (see /v1/videos), which ends with the request unless that has "
        "an Idempotency-Key or prefers respond-async.",
        examples=["png"],
    )
    frame_count: int | None = Field(
        default=None,
        ge=MIN_CLIP_FRAMES,
        le=MAX_CLIP_FRAMES,
        description="Frames of a picture that moves; 9 when absent. Only with gif and webp.",
    )
    frame_duration_ms: int | None = Field(
        default=None,
        ge=MOST_FRAMES_PER_SECOND_MS,
        le=1000,
        description="How long each of them is shown, in milliseconds; 200 when absent. Only with gif and webp.",
    )
    moderation: Literal["auto"] = Field(default="auto", description="The deployment's policy, for everyone.")
    cache: Cache = Field(
        default=Cache.AUTO,
        description="Whether pictures that were drawn before will do. auto: with a seed, yes: those of the same "
        "fields, model and policy, byte for byte (their label names the request that drew them); without, no, or what "
        "the deployment says for your tenant. any: without a seed, yes, whatever theirs was. fresh: no. What others "
        "had drawn is never given.",
    )
    lora: tuple[NamedLora, ...] = Field(
        default=(),
        max_length=MAX_LORAS,
        strict=False,
        description=f"Up to {MAX_LORAS} LoRAs that take part in every step, each once.",
        examples=[[]],
    )

    NOT_HERE: ClassVar[Mapping[str, str]] = {
        name: why for name, why in ImageRequest.NOT_HERE.items() if why is not _ANIMATED
    }

    @property
    def moves(self) -> bool:
        """Whether a clip is asked for."""
        frames = self.frame_count is not None or self.frame_duration_ms is not None
        return frames or self.output_format is ImageFormat.GIF

    @property
    def as_stated(self) -> bytes:
        """What an Idempotency-Key stands for: the request as it was sent."""
        return self.model_dump_json().encode()

    @field_validator("lora")
    @classmethod
    def _each_once(cls, lora: tuple[NamedLora, ...]) -> tuple[NamedLora, ...]:
        if len({each.id for each in lora}) < len(lora):
            raise PydanticCustomError("named_twice", "Accepted: each LoRA once; add its weights up instead")
        return lora
