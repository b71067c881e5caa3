"""What exactly will be drawn: a request's wishes and a model's description, brought together before anything is asked.

Everything that can be refused without a model is refused here: a model that is not served, a size it was not compiled
for, more steps than it takes, more frames or pixels than one request may have, a field that would have no effect.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from bowerbird.contracts import (
    MAX_FRAMES_PER_REQUEST,
    MAX_STEPS,
    Beginning,
    DrawRequest,
    LoraUse,
    ModelDescription,
    OutputFormat,
    PictureMediaType,
    Size,
    SpeciesSubject,
)
from bowerbird.errors import FieldUnknown, ModelUnknown, RequestInvalid, SizeUnsupported
from bowerbird.gateway.api.edit_request import EditImages
from bowerbird.gateway.api.image_request import GenerateImages, Quality
from bowerbird.gateway.results.lookup import Lookup, lookup_of
from bowerbird.gateway.species.images import SpeciesImages

# A fresh seed leaves room for the frames after it and is exact as a number in every JSON reader (below 2**53).
FRESH_SEED_BITS = 48
PREVIEW_PART = 0.25
"""Of the steps, after which a picture is shown, and shown again: soon, but not before there is something to see."""


@dataclass(frozen=True, slots=True)
class Effort:
    """Steps as a multiple of the model's default, never more than it takes; candidates for each picture."""

    steps_factor: float
    candidates: int


QUALITY: Mapping[Quality, Effort] = MappingProxyType(
    {
        Quality.LOW: Effort(0.5, 1),
        Quality.MEDIUM: Effort(1.0, 1),
        Quality.HIGH: Effort(1.5, 2),
        Quality.XHIGH: Effort(2.0, 4),
        Quality.MAX: Effort(float("inf"), 8),
    }
)
"""What `quality` means where `steps` or `candidates` are absent; `auto` is `medium`."""


@dataclass(frozen=True, slots=True)
class Original:
    """The picture that an edit begins with, as curation opened it."""

    strength: float
    frames: tuple[bytes, ...]
    """Frames parts: the picture and, where only some of it is drawn anew, which."""
    media_type: PictureMediaType
    read: Callable[[], Awaitable[bytes]]
    """Gives the file."""

    @property
    def beginning(self) -> Beginning:
        """What text-to-image is told of it."""
        return Beginning(strength=self.strength, masked=len(self.frames) > 1)


@dataclass(frozen=True, slots=True)
class Plan:
    """What will be drawn, complete: nothing is defaulted after this."""

    model: ModelDescription
    prompt: str
    negative_prompt: str | None
    size: Size
    steps: int
    guidance_scale: float
    seed: int
    images: int
    candidates: int
    quality: Quality
    output_format: OutputFormat
    output_compression: int
    lora: tuple[LoraUse, ...] = ()
    lookup: Lookup = Lookup.NONE
    """Which stored pictures may answer instead."""
    previews: int = 0
    """How often the picture is shown before it is finished."""
    original: Original | None = None
    """What it begins with; None: with noise."""
    species: SpeciesSubject | None = None
    """What it is to show, where it was asked for as one of a species."""

    @property
    def made_steps(self) -> int:
        """Steps that are computed: all, or as many as an edit is strong."""
        return self.steps if self.original is None else int(self.steps * self.original.strength)

    @property
    def begins_with(self) -> tuple[bytes, ...]:
        """Frames parts that go to text-to-image with the request."""
        return () if self.original is None else self.original.frames

    @property
    def source(self) -> PictureMediaType | None:
        """Of the file that goes to curation with the frames that began with it."""
        return None if self.original is None else self.original.media_type

    @property
    def frames(self) -> int:
        """How many frames are drawn; frame `i * candidates + c` is candidate c of picture i."""
        return self.images * self.candidates

    def draw_request(self, prompt: str, negative_prompt: str | None) -> DrawRequest:
        """The order to text-to-image, with the prompts that safety let through."""
        return DrawRequest(
            prompt=prompt,
            negative_prompt=negative_prompt,
            size=self.size,
            steps=self.steps,
            guidance_scale=self.guidance_scale,
            seed=self.seed,
            count=self.frames,
            lora=list(self.lora),
            preview_steps=max(1, int(self.made_steps * PREVIEW_PART)) if self.previews else 0,
            max_previews=self.previews or MAX_STEPS,
            beginning=None if self.original is None else self.original.beginning,
        )


def plan_images(
    asked: GenerateImages | EditImages,
    model: ModelDescription,
    max_pixels: int,
    *,
    stores: bool = False,
    any_by_default: bool = False,
) -> Plan:
    """The plan of a request; raises ModelUnknown, SizeUnsupported, FieldUnknown or RequestInvalid, naming the field.

    `stores` says whether pictures are kept that could answer it; `any_by_default`, whether any of them may where the
    request says nothing of it.
    """
    if asked.model not in (None, model.name):
        raise ModelUnknown(
            f"model: {asked.model!r} is not served here. Accepted: {model.name!r}, or no model at all.", param="model"
        )
    quality = Quality.MEDIUM if asked.quality is Quality.AUTO else asked.quality
    effort = QUALITY[quality]
    lora: tuple[LoraUse, ...] = ()
    lookup = Lookup.NONE
    if isinstance(asked, GenerateImages):
        lora = tuple(LoraUse(id=each.id, weight=each.weight) for each in asked.lora)
        if asked.moves:
            raise RequestInvalid(
                "output_format: pictures that move are drawn by /v1/images/generations and /v1/videos. Accepted here: "
                "png, webp or jpeg, without frame_count and frame_duration_ms.",
                param="output_format",
            )
        lookup = lookup_of(asked.cache, asked.seed, stores=stores, any_by_default=any_by_default)
    plan = Plan(
        model=model,
        prompt=asked.prompt,
        negative_prompt=asked.negative_prompt,
        size=_size(asked.size, model),
        steps=asked.steps or int(min(max(1, model.default_steps * effort.steps_factor), model.max_steps)),
        guidance_scale=asked.guidance_scale or model.default_guidance_scale,
        seed=secrets.randbits(FRESH_SEED_BITS) if asked.seed is None else asked.seed,
        images=asked.n,
        candidates=asked.candidates or effort.candidates,
        quality=quality,
        output_format=OutputFormat(asked.output_format),
        output_compression=100 if asked.output_compression is None else asked.output_compression,
        lora=lora,
        lookup=lookup,
        previews=asked.partial_images or 0,
        species=asked.species if isinstance(asked, SpeciesImages) else None,
    )
    _refuse_ineffective(asked, plan)
    if asked.stream:
        _refuse_several(plan)
    _refuse_excessive(plan, max_pixels)
    return plan


def compute_units(plan: Plan) -> float:
    """What the plan costs, by what the model says of itself; without that, by pixels: rows of steps of its first size.

    This is what tenants share and what the queue is measured in, so it must be there before anything is computed.
    """
    stated, first = plan.model.costs, plan.model.sizes[0]
    costs = next((each for each in stated.sizes if each.size == plan.size), None) if stated else None
    guided_rows = stated.guided_rows if stated else 2
    steps = plan.frames * plan.made_steps * (guided_rows if plan.guidance_scale > 1 else 1)
    if costs is None:
        return steps * (plan.size.width * plan.size.height) / (first.width * first.height)
    read = 0.0 if plan.original is None else costs.read
    return costs.encode + read + steps * costs.step + plan.frames * costs.decode


def _size(asked: str, model: ModelDescription) -> Size:
    sizes = {str(size): size for size in model.sizes}
    if asked == "auto":
        return model.sizes[0]
    if asked not in sizes:
        raise SizeUnsupported(
            f"size: {asked!r} is not a size that {model.name} draws. Accepted: 'auto', {', '.join(map(repr, sizes))}.",
            param="size",
        )
    return sizes[asked]


def plan_edit(asked: EditImages, model: ModelDescription, max_pixels: int) -> Plan:
    """The plan of an edit, still without its picture; raises what `plan_images` does."""
    plan = plan_images(asked, model, max_pixels)
    if not model.edits:
        raise RequestInvalid(f"model: {model.name} was compiled without an encoder and edits nothing.", param="model")
    if asked.strength is not None and int(plan.steps * asked.strength) < 1:
        raise RequestInvalid(
            f"strength: {asked.strength:g} of {plan.steps} steps is less than one. Accepted: at least 1 / steps.",
            param="strength",
        )
    return plan


def _refuse_ineffective(asked: GenerateImages | EditImages, plan: Plan) -> None:
    if asked.output_compression is not None and plan.output_format is OutputFormat.PNG:
        raise FieldUnknown(
            "output_compression has no effect on png. Accepted: with output_format webp or jpeg.",
            param="output_compression",
        )
    if plan.lora and not plan.model.max_lora_rank:
        fact = (
            f"lora has no effect: {plan.model.name} was compiled without LoRA, or is served without a folder of them."
        )
        raise FieldUnknown(fact, param="lora")
    if any(each.weight == 0 for each in plan.lora):
        raise FieldUnknown("lora: a weight of 0 has no effect. Accepted: leave that LoRA out.", param="lora")
    if asked.partial_images is not None and not asked.stream:
        fact = "partial_images has no effect without stream. Accepted: with stream true."
        raise FieldUnknown(fact, param="partial_images")
    if plan.previews and not plan.model.previews:
        fact = f"partial_images has no effect: {plan.model.name} was compiled without previews. Accepted: 0."
        raise FieldUnknown(fact, param="partial_images")
    if plan.negative_prompt is not None and plan.guidance_scale <= 1:
        raise FieldUnknown(
            f"negative_prompt has no effect with guidance_scale {plan.guidance_scale:g}. Accepted: with a "
            "guidance_scale above 1.",
            param="negative_prompt",
        )


def _refuse_several(plan: Plan) -> None:
    """The events of a stream do not say of which picture they are."""
    if plan.images > 1:
        raise RequestInvalid(f"n: {plan.images} pictures cannot be streamed. Accepted: 1 with stream true.", param="n")
    if plan.candidates > 1:
        raise RequestInvalid(
            f"candidates: the best of {plan.candidates} cannot be streamed: it is not known before all are drawn. "
            f"Accepted: 1 with stream true (quality {plan.quality} draws {QUALITY[plan.quality].candidates} candidates "
            "unless candidates says otherwise).",
            param="candidates",
        )


def _refuse_excessive(plan: Plan, max_pixels: int) -> None:
    model = plan.model
    if plan.steps > model.max_steps:
        raise RequestInvalid(
            f"steps: {plan.steps} is more than {model.name} takes. Accepted: 1 to {model.max_steps}.", param="steps"
        )
    if plan.guidance_scale > model.max_guidance_scale:
        raise RequestInvalid(
            f"guidance_scale: {plan.guidance_scale:g} is more than {model.name} takes. Accepted: 1 to "
            f"{model.max_guidance_scale:g}.",
            param="guidance_scale",
        )
    if plan.frames > MAX_FRAMES_PER_REQUEST:
        raise RequestInvalid(
            f"n: {plan.images} pictures of {plan.candidates} candidates each are {plan.frames} frames. Accepted: n x "
            f"candidates up to {MAX_FRAMES_PER_REQUEST} (quality {plan.quality} draws "
            f"{QUALITY[plan.quality].candidates} candidates unless candidates says otherwise).",
            param="n",
        )
    pixels = plan.frames * plan.size.width * plan.size.height
    if pixels > max_pixels:
        raise RequestInvalid(
            f"n: {plan.frames} frames of {plan.size} are {pixels} pixels. Accepted: up to {max_pixels} in one request.",
            param="n",
        )
