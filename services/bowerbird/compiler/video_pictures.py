"""A whole clip that goes on from a picture, as diffusers draws it: what `pictures` holds the bundle's own against.

The order of calls is that of StableVideoDiffusionPipeline, which the tests hold against the pipeline itself; it is not
called here because it wants all components in memory at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import interpolate

from bowerbird.compiler import scheduling
from bowerbird.compiler.checkpoint import Checkpoint
from bowerbird.compiler.loading import load_component, load_scheduler
from bowerbird.compiler.resizing import resized
from bowerbird.compiler.stable_video import image_statistics
from bowerbird.contracts import Size
from bowerbird.engine.bundle import IMAGE_ENCODER, DrawingFacts
from bowerbird.engine.model.clip import ClipForm
from bowerbird.engine.model.encoder import as_read
from bowerbird.engine.model.noise import INITIAL_CALL, PICTURE_CALL, noise
from bowerbird.engine.order import Order

Pixels = NDArray[np.uint8]


def coloured_field(size: Size) -> Pixels:
    """A picture to begin with: uint8 `[height, width, 3]`, the same for a size whenever it is asked for."""
    cells = torch.rand(1, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    field = interpolate(cells, (size.height, size.width), mode="bilinear")[0]
    pixels: Pixels = (field * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
    return pixels


@dataclass(frozen=True, slots=True, eq=False)
class VideoPipeline:
    """The checkpoint with diffusers' own classes, called as its pipeline calls them; loads a component when needed."""

    checkpoint: Checkpoint
    facts: DrawingFacts

    def pictures(self, orders: list[Order]) -> Iterator[Pixels]:
        """uint8 `[height, width, 3]` of each frame of each order's clip, from the engine's own noise."""
        with torch.inference_mode():
            for order in orders:
                assert order.clip is not None  # noqa: S101 - only clips are told a picture
                latents = self._denoised(order, order.clip, *self._seen(order))
                yield from self._decoded(latents, order.clip)

    def _seen(self, order: Order) -> tuple[torch.Tensor, torch.Tensor]:
        """States and latents of the picture."""
        motion = self.facts.motion
        assert order.image is not None  # noqa: S101 - as above
        assert motion is not None  # noqa: S101
        assert motion.image is not None  # noqa: S101
        picture = torch.from_numpy(as_read(order.image))[None]
        mean, deviation = (torch.tensor(each)[:, None, None] for each in image_statistics(self.checkpoint))
        encoder = load_component(self.checkpoint, IMAGE_ENCODER)
        side = int(encoder.config.image_size)
        small = (resized(picture, side, side) + 1) / 2
        states = encoder((small - mean) / deviation).image_embeds[:, None]
        fresh = torch.from_numpy(noise(order.seed, PICTURE_CALL, tuple(picture.shape[1:])))
        vae = load_component(self.checkpoint, "vae")
        return states, vae.encode(picture + motion.image.noise_strength * fresh).latent_dist.mode()

    def _denoised(self, order: Order, clip: ClipForm, states: torch.Tensor, beside: torch.Tensor) -> torch.Tensor:
        """`[frames, c, h, w]`; of a guided clip both rows are asked in one call."""
        image = clip.motion.image
        assert image is not None  # noqa: S101 - only such clips are drawn here
        unet, scheduler = load_component(self.checkpoint, "unet"), load_scheduler(self.checkpoint, self.facts.sampler)
        times = scheduling.begin(scheduler, order.steps)
        told = torch.tensor([[clip.motion.frames_per_second - 1, image.motion_bucket, image.noise_strength]])
        guided = order.negative is not None
        if guided:
            states, beside, told = (
                torch.cat([torch.zeros_like(states), states]),
                torch.cat([torch.zeros_like(beside), beside]),
                told.repeat(2, 1),
            )
        beside = beside[:, None].repeat(1, clip.held, 1, 1, 1)
        scales = torch.linspace(image.min_guidance_scale, order.guidance_scale, clip.held)[:, None, None, None]

        def output(call: int, read: torch.Tensor) -> torch.Tensor:
            sample = torch.cat([read.repeat(len(states), 1, 1, 1, 1), beside], dim=2)
            answer: torch.Tensor = unet(sample, times[call], states, told, return_dict=False)[0]
            return answer[:1] + scales * (answer[1:] - answer[:1]) if guided else answer

        fresh = torch.from_numpy(clip.noise(order.seed, INITIAL_CALL, self.facts.latents.shape(order.size)))[None]
        sample = fresh * scheduling.initial_sigma(scheduler)
        return scheduling.run(scheduler, times, sample, output, lambda: torch.zeros_like(sample))[-1][0]

    def _decoded(self, latents: torch.Tensor, clip: ClipForm) -> Iterator[Pixels]:
        vae: Any = load_component(self.checkpoint, "vae")
        latents = latents / vae.config.scaling_factor
        for part in range(clip.decodes):
            leaving, read = clip.chunk(part)
            pictures = vae.decode(latents[read], num_frames=len(read)).sample
            pixels = ((pictures / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
            yield from (pixels[each - read[0]].numpy() for each in leaving)
