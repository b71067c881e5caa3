"""What exactly will be drawn of a clip: a request's wishes and a model's description, before anything is asked.

Everything that can be refused without a model is refused here, in words that say what would be accepted.

A model is taught on clips of its own frame rate, and as many frames are drawn as the clip would have at that rate. Of a
faster clip the others lie between two of them (latent interpolation), of a slower one some are left out, so that what
it shows moves as fast as it was taught to. A loop of a model that draws circles is whole ones, and a little faster or
slower for it.
"""

from __future__ import annotations

import math
import secrets
from bisect import bisect_left
from dataclasses import dataclass, replace

from bowerbird.contracts import (
    MIN_CLIP_FRAMES,
    AnimateRequest,
    Beginning,
    ClipFormat,
    MotionDescription,
    Size,
    SpeciesSubject,
)
from bowerbird.errors import FieldUnknown, ModelUnknown, RequestInvalid, SizeUnsupported, TierExceeded
from bowerbird.gateway.clips.request import MIN_SECONDS, ClipBeginning, ClipRequest
from bowerbird.gateway.plan import FRESH_SEED_BITS, Original

USUAL_STRENGTH = 0.8
"""Of a clip that begins with a picture: what it shows is seen again, and has room to move."""


@dataclass(frozen=True, slots=True)
class ClipPlan:
    """A clip, complete: nothing is defaulted after this."""

    model: MotionDescription
    prompt: str
    negative_prompt: str | None
    size: Size
    frames: int
    drawn_frames: int
    """Fewer: the others lie between two of them. More: some are left out."""
    frames_per_second: float
    steps: int
    guidance_scale: float
    seed: int
    candidates: int
    loop: bool
    format: ClipFormat
    quality: int
    strength: float | None = None
    """How far it may go from the picture that it begins with; None: it begins with noise."""
    original: Original | None = None
    """That picture, once it is opened (`clips.beginning`)."""
    species: SpeciesSubject | None = None

    @property
    def made_steps(self) -> int:
        """Steps that are computed: all, or as many as its strength leaves."""
        return self.steps if self.strength is None else int(self.steps * self.strength)

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.frames / self.frames_per_second

    @property
    def repeats(self) -> bool:
        """Whether its file begins again at its end: GIF and WebP say so in themselves, a loop is put where it does."""
        return self.loop or self.format is not ClipFormat.MP4

    @property
    def all_frames(self) -> int:
        """Of all candidates; frame f of candidate k is frame `k * frames + f`."""
        return self.candidates * self.frames

    @property
    def all_pixels(self) -> int:
        """Of all frames of all candidates."""
        return self.all_frames * self.size.width * self.size.height

    @property
    def passes(self) -> int:
        """Windows that are denoised in one step, as the engine lays them; a loop's go round the circle."""
        stride = self.model.window - self.model.overlap
        if self.loop:
            return max(2, math.ceil(self.drawn_frames / stride))
        return 1 + max(0, math.ceil((self.drawn_frames - self.model.window) / stride))

    def animate_request(self, prompt: str, negative_prompt: str | None) -> AnimateRequest:
        """The order to animation, with the prompts that safety let through.

        A model that reads none is told the picture only; candidates are chosen by the prompt all the same.
        """
        return AnimateRequest(
            prompt=prompt if self.model.prompts else None,
            negative_prompt=negative_prompt,
            size=self.size,
            steps=self.steps,
            guidance_scale=self.guidance_scale,
            seed=self.seed,
            count=self.candidates,
            frames=self.frames,
            drawn=None if self.drawn_frames == self.frames else self.drawn_frames,
            loop=self.loop,
            beginning=None if self.original is None else Beginning(strength=self.original.strength),
        )

    def of_length(self, frames: int) -> ClipPlan:
        """The same with so many frames."""
        drawn = max(MIN_CLIP_FRAMES, round(frames / self.frames_per_second * self.model.frames_per_second))
        if self.loop and self.model.circle:
            window, most = self.model.window, max(drawn, self.model.max_frames)
            drawn = window * max(1, min(round(drawn / window), most // window))
        return replace(self, frames=frames, drawn_frames=drawn)

    def settled(self, asked: ClipRequest, prompt: str, negative_prompt: str | None) -> ClipRequest:
        """The request as a job keeps it: the same plan comes of it again, as long as the model draws it."""
        values = {
            "prompt": prompt,
            "negative_prompt": negative_prompt,
            "size": str(self.size),
            "steps": self.steps,
            "guidance_scale": self.guidance_scale,
            "seed": self.seed,
            "beginning": None if self.strength is None else ClipBeginning(strength=self.strength),
        }
        return asked.model_copy(update=values)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a clip may take, beside what its model draws at most."""

    pixels: int
    """Of all frames of all candidates."""
    units: float | None = None
    """Compute units; None: as many as it will."""

    def hold(self, plan: ClipPlan) -> bool:
        """Whether a clip is within these, and within its model's longest."""
        return (
            plan.drawn_frames <= plan.model.max_frames
            and plan.all_pixels <= self.pixels
            and (self.units is None or compute_units(plan) <= self.units)
        )


def plan_clip(asked: ClipRequest, model: MotionDescription) -> ClipPlan:
    """The plan of a clip, however long; raises ModelUnknown, SizeUnsupported, FieldUnknown or RequestInvalid."""
    if asked.model not in (None, model.name):
        raise ModelUnknown(
            f"model: {asked.model!r} moves no pictures here. Accepted: {model.name!r}, or no model at all.",
            param="model",
        )
    plan = ClipPlan(
        model=model,
        prompt=asked.prompt,
        negative_prompt=asked.negative_prompt,
        size=_size(asked.size, model),
        frames=asked.frames,
        drawn_frames=asked.frames,
        frames_per_second=asked.frames_per_second,
        steps=asked.steps or model.default_steps,
        guidance_scale=asked.guidance_scale or model.default_guidance_scale,
        seed=secrets.randbits(FRESH_SEED_BITS) if asked.seed is None else asked.seed,
        candidates=asked.candidates,
        loop=asked.loop,
        format=asked.format,
        quality=asked.quality,
        strength=_strength(asked, model),
        species=asked.species,
    ).of_length(asked.frames)
    _refuse_ineffective(plan)
    _refuse_too_much_of_the_model(plan)
    return plan


def compute_units(plan: ClipPlan) -> float:
    """What the plan costs, by what the model says of itself; without that, in rows of a window of its first size."""
    stated, first = plan.model.costs, plan.model.sizes[0]
    costs = next((each for each in stated.sizes if each.size == plan.size), None) if stated else None
    rows = (stated.guided_rows if stated else 2) if plan.guidance_scale > 1 else 1
    steps = plan.candidates * plan.made_steps * plan.passes * rows
    if costs is None:
        return steps * (plan.size.width * plan.size.height) / (first.width * first.height)
    read = 0.0 if plan.strength is None else costs.read * (plan.candidates if plan.model.begins == "must" else 1)
    return costs.encode + read + steps * costs.step + plan.all_frames * costs.decode


def refuse_beyond(bounds: Bounds, plan: ClipPlan, field: str) -> None:
    """Raises RequestInvalid or TierExceeded where a clip is too long or takes too much.

    They name the bound, and the longest clip of this frame rate, size, steps and candidates that is within all of them.
    """
    model, other = plan.model, "fewer frames a second or candidates, or a smaller size"
    if plan.drawn_frames > model.max_frames:
        fact = f"{plan.drawn_frames} frames would be drawn, and {model.name} draws at most {model.max_frames}"
        raise RequestInvalid(f"{field}: {fact}. {_accepted(bounds, plan, field, other)}", param=field)
    if plan.all_pixels > bounds.pixels:
        fact = f"{plan.candidates} x {plan.frames} frames of {plan.size} are {plan.all_pixels} pixels"
        accepted = _accepted(bounds, plan, field, other)
        raise RequestInvalid(f"{field}: {fact}, of at most {bounds.pixels}. {accepted}", param=field)
    if bounds.units is not None and (cost := compute_units(plan)) > bounds.units:
        fact = f"this clip takes {cost:.0f} compute units, and your tier has {bounds.units:g} a minute"
        accepted = _accepted(bounds, plan, field, "fewer steps or candidates, or a smaller size")
        raise TierExceeded(f"{field}: {fact}. {accepted}", param=field)


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


def _strength(asked: ClipRequest, model: MotionDescription) -> float | None:
    """How far the clip goes from the picture that it begins with; raises FieldUnknown or RequestInvalid."""
    if asked.beginning is None:
        if model.begins == "must":
            fact = f"input_reference is required: {model.name} draws clips of a picture only. Accepted: one picture."
            raise RequestInvalid(fact, param="input_reference")
        return None
    if model.begins == "no":
        fact = f"input_reference has no effect: {model.name} was compiled without an encoder. Accepted: without it."
        raise FieldUnknown(fact, param="input_reference")
    stated, steps = asked.beginning.strength, asked.steps or model.default_steps
    if model.begins == "must":  # it is shown the picture at every step, instead of beginning with it
        if stated not in (None, 1.0):
            raise FieldUnknown(f"strength has no effect on {model.name}. Accepted: without it.", param="strength")
        return 1.0
    if stated is not None and int(steps * stated) < 1:
        fact = f"strength: {stated:g} of {steps} steps is less than one. Accepted: at least 1 / steps."
        raise RequestInvalid(fact, param="strength")
    return stated or max(USUAL_STRENGTH, 1 / steps)


def _refuse_ineffective(plan: ClipPlan) -> None:
    if plan.loop and not plan.model.loops:
        raise FieldUnknown(f"loop has no effect on {plan.model.name}. Accepted: false.", param="loop")
    if plan.negative_prompt is not None and not plan.model.prompts:
        fact = f"negative_prompt has no effect: {plan.model.name} reads no prompts. Accepted: without it."
        raise FieldUnknown(fact, param="negative_prompt")
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


def _accepted(bounds: Bounds, plan: ClipPlan, field: str, otherwise: str) -> str:
    """What is, in the caller's own unit: up to so many frames, or, where no clip is so short, something else."""
    lengths = range(MIN_CLIP_FRAMES, plan.frames)  # within the bounds up to one, and beyond them from there
    fitting = bisect_left(lengths, True, key=lambda frames: not bounds.hold(plan.of_length(frames)))
    frames = lengths[fitting - 1] if fitting else 0
    rate = plan.frames_per_second
    seconds = math.floor(10 * frames / rate) / 10
    in_seconds = field == "seconds"
    if (seconds < MIN_SECONDS) if in_seconds else not frames:
        return f"Accepted: {otherwise}."
    longest = f"{seconds:g} s" if in_seconds else f"{frames} frames"
    return f"Accepted: up to {longest} at {rate:g} frames a second."
