"""The gate: a bundle that does not compute what the checkpoint computes is not written.

`compiling` takes the references while a component is in memory, frees it, and compares when the graphs are linked to
their weights: one side in memory at a time. Each part is compared at three fixed inputs (the denoiser at three times,
each row at its own), whole pictures from the same noise and prompts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bowerbird.compiler.parts import Part, Shapes
from bowerbird.contracts import DrawRequest
from bowerbird.engine.backend import Floats, Session
from bowerbird.engine.bundle import ParityFacts, PictureParity
from bowerbird.engine.drawing import Engine, Frame, Order
from bowerbird.engine.noise import INITIAL_CALL, noise

ROWS = 3
PART_TOLERANCE = 2e-4
PICTURE_TOLERANCE_DB = 40.0
MAX_PSNR_DB = 99.0
PROMPTS = ("a small bird on a branch in winter", "a red flower")


class BundleDiffers(Exception):
    """The compiled bundle does not compute what the checkpoint computes; it was not written."""


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """What a component answers to fixed inputs: as it is, and with its weights rounded to fp16."""

    inputs: dict[str, NDArray[Any]]
    output: Floats
    rounded: Floats


def reference_of(part: Part, component: Any, rounded: Any, shapes: Shapes) -> Reference:
    """The answers of a component and of its copy with rounded weights."""
    examples = part.examples(shapes, ROWS, torch.Generator().manual_seed(1))
    with torch.inference_mode():
        outputs = [part.wrap(each).eval()(*examples).numpy() for each in (component, rounded)]
    inputs = dict(zip(part.inputs, (example.numpy() for example in examples), strict=True))
    return Reference(inputs, *outputs)


def compare_part(part: Part, session: Session, reference: Reference) -> ParityFacts:
    """The figures of one part; raises BundleDiffers above the tolerance, which scales with outputs beyond 1."""
    output = session.run(reference.inputs)[part.output]
    tolerance = PART_TOLERANCE * max(1.0, float(np.abs(reference.rounded).max()))
    facts = ParityFacts(
        max_abs_difference=_difference(output, reference.rounded),
        tolerance=tolerance,
        max_abs_rounding=_difference(reference.output, reference.rounded),
        inputs=ROWS,
    )
    if facts.max_abs_difference > tolerance:
        raise BundleDiffers(
            f"{part.role} differs from the checkpoint by {facts.max_abs_difference:.2e} (tolerance {tolerance:.2e})."
        )
    return facts


def compare_pictures(engine: Engine, pipeline: Pipeline) -> PictureParity:
    """Whole guided pictures by the engine and by diffusers; raises BundleDiffers below 40 dB."""
    facts = engine.facts
    orders = [
        engine.order(
            DrawRequest(
                prompt=prompt,
                size=facts.sizes[0],
                steps=facts.default_steps,
                guidance_scale=facts.default_guidance_scale,
                seed=seed,
                count=1,
            )
        )
        for seed, prompt in enumerate(PROMPTS)
    ]
    worst = min(
        _psnr(ours, theirs) for ours, theirs in zip(_drawn(engine, orders), pipeline.pictures(orders), strict=True)
    )
    if worst < PICTURE_TOLERANCE_DB:
        raise BundleDiffers(
            f"A whole picture differs by {worst:.1f} dB PSNR; at least {PICTURE_TOLERANCE_DB} dB is wanted."
        )
    return PictureParity(
        psnr_db=round(worst, 2), tolerance_db=PICTURE_TOLERANCE_DB, steps=facts.default_steps, pictures=len(orders)
    )


@dataclass(frozen=True, slots=True, eq=False)
class Pipeline:
    """The checkpoint with diffusers' own classes, as its pipeline would use them."""

    text_encoder: Any
    unet: Any
    vae: Any
    scheduler: Any
    latent_shape: tuple[int, int, int]
    shift_factor: float

    def pictures(self, orders: list[Order]) -> Iterator[NDArray[np.uint8]]:
        """uint8 `[height, width, 3]` of each order's first frame, from the engine's own noise."""
        for order in orders:
            with torch.inference_mode():
                yield self._picture(order)

    def _picture(self, order: Order) -> NDArray[np.uint8]:
        states = [
            self.text_encoder(torch.from_numpy(ids)[None]).last_hidden_state
            for ids in (order.negative, order.positive)
            if ids is not None
        ]
        self.scheduler.set_timesteps(order.steps)
        sample = torch.from_numpy(noise(order.seed, INITIAL_CALL, self.latent_shape))[None]
        sample = sample * float(getattr(self.scheduler, "init_noise_sigma", 1.0))
        for time in self.scheduler.timesteps:
            scaled = (
                self.scheduler.scale_model_input(sample, time)
                if hasattr(self.scheduler, "scale_model_input")
                else sample
            )
            outputs = [self.unet(scaled, time, each, return_dict=False)[0] for each in states]
            output = outputs[-1] if len(outputs) == 1 else outputs[0] + order.guidance_scale * (outputs[1] - outputs[0])
            sample = self.scheduler.step(output, time, sample, return_dict=False)[0]
        latents = sample / float(self.vae.config.scaling_factor) + self.shift_factor
        picture = self.vae.decode(latents, return_dict=False)[0][0]
        pixels: NDArray[np.uint8] = (
            ((picture / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
        )
        return pixels


def _drawn(engine: Engine, orders: list[Order]) -> Iterator[NDArray[np.uint8]]:
    for order in orders:
        yield from (event.pixels for event in engine.draw(order) if isinstance(event, Frame))


def _difference(one: Floats, other: Floats) -> float:
    return float(np.abs(one - other).max())


def _psnr(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    error = float(np.mean((one.astype(np.float64) - other.astype(np.float64)) ** 2))
    return MAX_PSNR_DB if error == 0 else min(MAX_PSNR_DB, 10 * math.log10(255**2 / error))
