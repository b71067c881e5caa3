"""What exactly will be drawn of a clip: a request's wishes and a model's description, before anything is asked.

Everything that can be refused without a model is refused here, in words that say what would be accepted.

A model is taught on clips of its own frame rate. Of a clip that is faster as many frames are drawn as it would have at
that rate, and the others lie between two of them (latent interpolation); of a slower one every frame is drawn, and what
it shows is slower.
"""

from __future__ import annotations

import math
import secrets
from dataclasses import dataclass

from bowerbird.contracts import MIN_CLIP_FRAMES, AnimateRequest, ClipFormat, MotionDescription, Size, SpeciesSubject
from bowerbird.errors import FieldUnknown, ModelUnknown, RequestInvalid, SizeUnsupported
from bowerbird.gateway.clips.request import ClipRequest
from bowerbird.gateway.plan import FRESH_SEED_BITS


@dataclass(frozen=True, slots=True)
class ClipPlan:
    """A clip, complete: nothing is defaulted after this."""

    model: MotionDescription
    prompt: str
    negative_prompt: str | None
    size: Size
    frames: int
    drawn_frames: int
    """The others lie between two of them."""
    frames_per_second: float
    steps: int
    guidance_scale: float
    seed: int
    candidates: int
    loop: bool
    format: ClipFormat
    quality: int
    species: SpeciesSubject | None = None

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.frames / self.frames_per_second

    @property
    def all_frames(self) -> int:
        """Of all candidates; frame f of candidate k is frame `k * frames + f`."""
        return self.candidates * self.frames

    @property
    def passes(self) -> int:
        """Windows that are denoised in one step, as the engine lays them; a loop's go round the circle."""
        stride = self.model.window - self.model.overlap
        if self.loop:
            return max(2, math.ceil(self.drawn_frames / stride))
        return 1 + max(0, math.ceil((self.drawn_frames - self.model.window) / stride))

    def animate_request(self, prompt: str, negative_prompt: str | None) -> AnimateRequest:
        """The order to animation, with the prompts that safety let through."""
        return AnimateRequest(
            prompt=prompt,
            negative_prompt=negative_prompt,
            size=self.size,
            steps=self.steps,
            guidance_scale=self.guidance_scale,
            seed=self.seed,
            count=self.candidates,
            frames=self.frames,
            drawn=None if self.drawn_frames == self.frames else self.drawn_frames,
            loop=self.loop,
        )

    def settled(self, asked: ClipRequest, prompt: str, negative_prompt: str | None) -> ClipRequest:
        """The request as a job keeps it: the same plan comes of it again, as long as the model draws it."""
        values = {
            "prompt": prompt,
            "negative_prompt": negative_prompt,
            "size": str(self.size),
            "steps": self.steps,
            "guidance_scale": self.guidance_scale,
            "seed": self.seed,
        }
        return asked.model_copy(update=values)


def plan_clip(asked: ClipRequest, model: MotionDescription, max_pixels: int) -> ClipPlan:
    """The plan of a clip; raises ModelUnknown, SizeUnsupported, FieldUnknown or RequestInvalid, naming the field."""
    if asked.model not in (None, model.name):
        raise ModelUnknown(
            f"model: {asked.model!r} moves no pictures here. Accepted: {model.name!r}, or no model at all.",
            param="model",
        )
    at_its_rate = round(asked.frames / asked.frames_per_second * model.frames_per_second)
    plan = ClipPlan(
        model=model,
        prompt=asked.prompt,
        negative_prompt=asked.negative_prompt,
        size=_size(asked.size, model),
        frames=asked.frames,
        drawn_frames=min(asked.frames, max(MIN_CLIP_FRAMES, at_its_rate)),
        frames_per_second=asked.frames_per_second,
        steps=asked.steps or model.default_steps,
        guidance_scale=asked.guidance_scale or model.default_guidance_scale,
        seed=secrets.randbits(FRESH_SEED_BITS) if asked.seed is None else asked.seed,
        candidates=asked.candidates,
        loop=asked.loop,
        format=asked.format,
        quality=asked.quality,
        species=asked.species,
    )
    _refuse_ineffective(plan)
    _refuse_too_much_of_the_model(plan)
    _refuse_too_long(plan, asked.length_field, max_pixels)
    return plan


def compute_units(plan: ClipPlan) -> float:
    """What the plan costs, by what the model says of itself; without that, in rows of a window of its first size."""
    stated, first = plan.model.costs, plan.model.sizes[0]
    costs = next((each for each in stated.sizes if each.size == plan.size), None) if stated else None
    rows = (stated.guided_rows if stated else 2) if plan.guidance_scale > 1 else 1
    steps = plan.candidates * plan.steps * plan.passes * rows
    if costs is None:
        return steps * (plan.size.width * plan.size.height) / (first.width * first.height)
    return costs.encode + steps * costs.step + plan.all_frames * costs.decode


def _size(asked: str, model: MotionDescription) -> Size:
    sizes = {str(size): size for size in model.sizes}
    if asked == "auto":
        return model.sizes[0]
    if asked not in sizes:
        accepted = ", ".join(map(repr, sizes))
        raise SizeUnsupported(
            f"size: {asked!r} is not a size that {model.name} draws. Accepted: 'auto', {accepted}.", param="size"
        )
    return sizes[asked]


def _refuse_ineffective(plan: ClipPlan) -> None:
    if plan.negative_prompt is not None and plan.guidance_scale <= 1:
        raise FieldUnknown(
            f"negative_prompt has no effect with guidance_scale {plan.guidance_scale:g}. Accepted: with a "
            "guidance_scale above 1.",
            param="negative_prompt",
        )


def _refuse_too_much_of_the_model(plan: ClipPlan) -> None:
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


def _refuse_too_long(plan: ClipPlan, field: str, max_pixels: int) -> None:
    """Refusals say the longest clip of this frame rate, size and number of candidates that is accepted."""
    model, rate = plan.model, plan.frames_per_second
    if plan.drawn_frames > model.max_frames:
        faster = rate > model.frames_per_second
        most = model.max_frames * rate / model.frames_per_second if faster else model.max_frames
        fact = f"{plan.drawn_frames} frames would be drawn, and {model.name} draws at most {model.max_frames}"
        raise _too_long(field, fact, math.floor(most), rate)
    each = plan.size.width * plan.size.height * plan.candidates
    if plan.frames * each > max_pixels:
        fact = f"{plan.candidates} x {plan.frames} frames of {plan.size} are {plan.frames * each} pixels"
        raise _too_long(field, f"{fact}, of at most {max_pixels}", max_pixels // each, rate)


def _too_long(field: str, fact: str, frames: int, frames_per_second: float) -> RequestInvalid:
    seconds = math.floor(10 * frames / frames_per_second) / 10
    longest = f"{seconds:g} s" if field == "seconds" else f"{frames} frames"
    return RequestInvalid(
        f"{field}: {fact}. Accepted: up to {longest} at {frames_per_second:g} frames a second.", param=field
    )
