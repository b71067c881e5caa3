"""What exactly will be drawn: a request's wishes and a model's description, brought together before anything is asked.

Everything that can be refused without a model is refused here: a model that is not served, a size it was not compiled
for, more steps than it takes, more frames or pixels than one request may have, a field that would have no effect.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from bowerbird.contracts import (
    MAX_FRAMES_PER_REQUEST,
    DrawRequest,
    LoraUse,
    ModelDescription,
    OutputFormat,
    Size,
)
from bowerbird.errors import FieldUnknown, ModelUnknown, RequestInvalid, SizeUnsupported
from bowerbird.gateway.api.image_request import GenerateImages, Quality
from bowerbird.gateway.results.lookup import Lookup, lookup_of

# A fresh seed leaves room for the frames after it and is exact as a number in every JSON reader (below 2**53).
FRESH_SEED_BITS = 48


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
        )


def plan_images(asked: GenerateImages, model: ModelDescription, max_pixels: int, *, stores: bool = False) -> Plan:
    """The plan of a request; raises ModelUnknown, SizeUnsupported, FieldUnknown or RequestInvalid, naming the field.

    `stores` says whether pictures are kept that could answer it.
    """
    if asked.model not in (None, model.name):
        raise ModelUnknown(
            f"model: {asked.model!r} is not served here. Accepted: {model.name!r}, or no model at all.", param="model"
        )
    quality = Quality.MEDIUM if asked.quality is Quality.AUTO else asked.quality
    effort = QUALITY[quality]
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
        output_format=asked.output_format,
        output_compression=100 if asked.output_compression is None else asked.output_compression,
        lora=tuple(LoraUse(id=each.id, weight=each.weight) for each in asked.lora),
        lookup=lookup_of(asked.cache, asked.seed, stores=stores),
    )
    _refuse_ineffective(asked, plan)
    _refuse_excessive(plan, max_pixels)
    return plan


def compute_units(plan: Plan) -> float:
    """What the plan costs, by what the model says of itself; without that, by pixels: rows of steps of its first size.

    This is what tenants share and what the queue is measured in, so it must be there before anything is computed.
    """
    stated, first = plan.model.costs, plan.model.sizes[0]
    costs = next((each for each in stated.sizes if each.size == plan.size), None) if stated else None
    guided_rows = stated.guided_rows if stated else 2
    steps = plan.frames * plan.steps * (guided_rows if plan.guidance_scale > 1 else 1)
    if costs is None:
        return steps * (plan.size.width * plan.size.height) / (first.width * first.height)
    return costs.encode + steps * costs.step + plan.frames * costs.decode


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


def _refuse_ineffective(asked: GenerateImages, plan: Plan) -> None:
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
    if plan.negative_prompt is not None and plan.guidance_scale <= 1:
        raise FieldUnknown(
            f"negative_prompt has no effect with guidance_scale {plan.guidance_scale:g}. Accepted: with a "
            "guidance_scale above 1.",
            param="negative_prompt",
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
