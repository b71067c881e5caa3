"""Whole pictures, or a whole clip, by the bundle against what diffusers draws from the same noise and prompts.

The last gate of `compiling`: parts may each be right and be put together wrongly. Ours come from the engine that will
serve them. Theirs come from diffusers' own classes in the order in which its pipelines call them; the tests hold that
order against the pipelines themselves.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from bowerbird.compiler import modules, scheduling
from bowerbird.compiler.checkpoint import Checkpoint
from bowerbird.compiler.families import Family
from bowerbird.compiler.loading import load_component, load_scheduler
from bowerbird.compiler.parity import BundleDiffers, psnr
from bowerbird.compiler.parts import parts_of
from bowerbird.compiler.video_pictures import coloured_field
from bowerbird.contracts import AnimateRequest, Beginning, DrawRequest
from bowerbird.engine.backend import Backend
from bowerbird.engine.bundle import Bundle, DrawingFacts, Precision
from bowerbird.engine.drawing import Engine, Frame, Order
from bowerbird.engine.model.noise import INITIAL_CALL, noise
from bowerbird.engine.parity import PictureParity

TOLERANCE_DB: dict[Precision, float] = {"fp32": 40.0, "fp16": 30.0, "bf16": 30.0, "int8": 30.0}
PROMPTS = ("a small bird on a branch in winter", "a red flower")
Pixels = NDArray[np.uint8]


def compare_pictures(bundle: Bundle, backend: Backend, pipeline: Theirs) -> tuple[PictureParity, list[Pixels]]:
    """One picture per prompt at the smallest size, and how near they are; raises BundleDiffers when not near enough.

    Of a bundle that draws clips it is one window of frames for the first prompt; in int8 compared as one: what a frame
    decides by a hair (an eye open or shut) falls otherwise by the rounding of weights, in that frame alone.
    """
    orders, ours = _drawn(bundle, backend)
    gc.collect()  # one side in memory at a time
    theirs = list(pipeline.pictures(orders))
    if bundle.drawing.motion is None or bundle.manifest.precision != "int8":
        worst = min(psnr(one, other, 255.0) for one, other in zip(ours, theirs, strict=True))
    else:
        worst = psnr(np.stack(ours), np.stack(theirs), 255.0)
    tolerance = TOLERANCE_DB[bundle.manifest.precision]
    if not worst >= tolerance:
        raise BundleDiffers(f"A whole picture differs by {worst:.1f} dB PSNR; at least {tolerance} dB is wanted.")
    parity = PictureParity(
        psnr_db=round(worst, 2), tolerance_db=tolerance, steps=bundle.drawing.default_steps, pictures=len(ours)
    )
    return parity, ours


def seconds_of_pictures(facts: DrawingFacts, seconds_per_row: float) -> float:
    """About how long `compare_pictures` takes, from one row of the denoiser."""
    rows = 1 if facts.default_guidance_scale == 1 or facts.embeds_guidance else 2
    return 2 * len(_prompts(facts)) * facts.default_steps * rows * seconds_per_row


def _prompts(facts: DrawingFacts) -> tuple[str, ...]:
    return PROMPTS[:1] if facts.motion else PROMPTS


def _drawn(bundle: Bundle, backend: Backend) -> tuple[list[Order], list[Pixels]]:
    engine = Engine(bundle, backend)
    facts = engine.facts
    wanted: dict[str, Any] = {
        "size": min(facts.sizes, key=lambda size: size.width * size.height),
        "steps": facts.default_steps,
        "guidance_scale": facts.default_guidance_scale,
        "count": 1,
    }
    orders = [_order(engine, seed, prompt, wanted) for seed, prompt in enumerate(_prompts(facts))]
    frames = [event.pixels for order in orders for event in engine.draw(order) if isinstance(event, Frame)]
    return orders, frames


def _order(engine: Engine, seed: int, prompt: str, wanted: dict[str, Any]) -> Order:
    motion = engine.facts.motion
    if motion is None:
        return engine.order(DrawRequest(prompt=prompt, seed=seed, **wanted))
    if engine.facts.reads_prompts:
        return engine.animate(AnimateRequest(prompt=prompt, seed=seed, frames=motion.window, **wanted))
    told = AnimateRequest(seed=seed, frames=motion.window, beginning=Beginning(strength=1), **wanted)
    return engine.animate(told, [coloured_field(wanted["size"])[None]])


class Theirs(Protocol):
    """diffusers' side of the comparison."""

    def pictures(self, orders: list[Order]) -> Iterator[Pixels]:
        """uint8 `[height, width, 3]` of each order's picture, or of its clip's frames, from the engine's own noise."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Pipeline:
    """The checkpoint with diffusers' own classes, called as its pipeline calls them; loads a component when needed."""

    checkpoint: Checkpoint
    family: Family
    facts: DrawingFacts
    decoder: str

    def pictures(self, orders: list[Order]) -> Iterator[Pixels]:
        """See `Theirs`."""
        with torch.inference_mode():
            prompts = [self._encoded(order) for order in orders]
            unet = load_component(self.checkpoint, "unet")
            latents = [self._denoised(unet, order, prompt) for order, prompt in zip(orders, prompts, strict=True)]
            del unet
            decoder = modules.Decoder(load_component(self.checkpoint, self.decoder))
            for each in torch.cat([frames.reshape(-1, *frames.shape[-3:]) for frames in latents]):
                pixels = ((decoder(each[None])[0] / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
                yield pixels.permute(1, 2, 0).numpy()

    def _encoded(self, order: Order) -> list[dict[str, torch.Tensor]]:
        """What the UNet is told, negative first where there is guidance."""
        encoders = [
            parts_of(self.checkpoint, self.family, name)[0].wrap(load_component(self.checkpoint, name))
            for name in self.family.text_encoders
        ]
        told = []
        for ids in (order.negative, order.positive):
            if ids is None:
                continue
            answers = [
                encoder(torch.from_numpy(each)[None]) for encoder, each in zip(encoders, ids.arrays, strict=True)
            ]
            states = torch.cat([each[0] if isinstance(each, tuple) else each for each in answers], dim=-1)
            prompt = {"states": states}
            if self.family.size_conditioned:
                prompt["pooled"] = answers[-1][1]
            if ids.absent:
                prompt = {port: torch.zeros_like(value) for port, value in prompt.items()}
            told.append(prompt)
        return told

    def _denoised(self, unet: Any, order: Order, prompts: list[dict[str, torch.Tensor]]) -> torch.Tensor:
        denoiser = parts_of(self.checkpoint, self.family, "unet")[0].wrap(unet)
        scheduler = load_scheduler(self.checkpoint, self.facts.sampler)
        times = scheduling.begin(scheduler, order.steps)
        chance = (self._noise(order, call) for call in count(INITIAL_CALL + 1))

        def output(call: int, read: torch.Tensor) -> torch.Tensor:
            answers = [denoiser(read, times[call].float()[None], *self._more(order, each)) for each in prompts]
            guided = answers[0]
            if len(answers) == 2:
                guided = answers[0] + order.guidance_scale * (answers[1] - answers[0])
            return self._agreed(guided, float(times[call]))

        sample = self._noise(order, INITIAL_CALL) * scheduling.initial_sigma(scheduler)
        return scheduling.run(scheduler, times, sample, output, lambda: next(chance))[-1]

    def _agreed(self, output: torch.Tensor, timestep: float) -> torch.Tensor:
        """What diffusers' pipeline has no word for (`MotionFacts.common_mean_from`)."""
        least = self.facts.motion.common_mean_from if self.facts.motion else None
        if least is None or timestep < least:
            return output
        means = output.mean((3, 4), keepdim=True)
        return output - (means - means.mean(1, keepdim=True))

    def _noise(self, order: Order, call: int) -> torch.Tensor:
        """One row of what the engine draws for a call."""
        shape = self.facts.latents.shape(order.size)
        drawn = order.clip.noise(order.seed, call, shape) if order.clip else noise(order.seed, call, shape)
        return torch.from_numpy(drawn)[None]

    def _more(self, order: Order, prompt: dict[str, torch.Tensor]) -> list[torch.Tensor]:
        size = order.size
        more = [prompt["states"]]
        if self.family.size_conditioned:
            ids = [size.height, size.width, 0, 0, size.height, size.width]
            more += [prompt["pooled"], torch.tensor([ids], dtype=torch.float32)]
        if self.family.embeds_guidance:
            more.append(torch.tensor([order.guidance_scale], dtype=torch.float32))
        return more
