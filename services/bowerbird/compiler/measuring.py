"""The numbers of a checkpoint: what its latents are, which sizes it is compiled for, what example inputs look like.

The autoencoder itself says how much smaller its latents are: its hollow form is asked, which takes no weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from bowerbird.compiler.checkpoint import Checkpoint, CheckpointUnsupported
from bowerbird.compiler.families import Family
from bowerbird.compiler.loading import hollow_component
from bowerbird.compiler.parts import Shapes
from bowerbird.contracts import Size
from bowerbird.engine.bundle import LatentFacts


@dataclass(frozen=True, slots=True)
class Measured:
    """Sizes in the order they were asked for, and the shapes of each, the smallest first."""

    sizes: tuple[Size, ...]
    latents: LatentFacts
    shapes: tuple[Shapes, ...]

    @property
    def smallest(self) -> Size:
        """The size of the fewest pixels."""
        return min(self.sizes, key=_pixels)


def measure(checkpoint: Checkpoint, family: Family, sizes: Sequence[Size]) -> Measured:
    """Of `sizes`, or of the checkpoint's own; raises CheckpointUnsupported for one that the UNet cannot halve."""
    unet = checkpoint.config("unet")
    latents = LatentFacts(channels=int(unet["in_channels"]), downscale=_downscale(checkpoint))
    multiple = 2 ** (len(unet["block_out_channels"]) - 1)
    wanted = tuple(dict.fromkeys(sizes)) or (_own_size(unet, latents.downscale),)
    step = multiple * latents.downscale
    for size in wanted:
        if size.width % step or size.height % step:
            raise CheckpointUnsupported(f"{size} cannot be drawn: the sides must be multiples of {step}.")
    texts = [checkpoint.config(name) for name in family.text_encoders]
    shapes = Shapes(
        tokens=min(int(text["max_position_embeddings"]) for text in texts),
        vocabulary=min(int(text["vocab_size"]) for text in texts),
        text_width=sum(int(text["hidden_size"]) for text in texts),
        pooled_width=int(texts[-1]["projection_dim"]) if family.size_conditioned else 0,
        latent_channels=latents.channels,
        downscale=latents.downscale,
        size_multiple=multiple,
        window=family.motion.window if family.motion else 0,
    )
    ordered = [latents.shape(size) for size in sorted(wanted, key=_pixels)]
    each = tuple(replace(shapes, latent_height=height, latent_width=width) for _, height, width in ordered)
    return Measured(wanted, latents, each)


def _own_size(unet: dict[str, Any], downscale: int) -> Size:
    sample = unet["sample_size"]
    height, width = sample if isinstance(sample, (list, tuple)) else (sample, sample)
    return Size(width=width * downscale, height=height * downscale)


def _downscale(checkpoint: Checkpoint) -> int:
    channels = int(checkpoint.config("unet")["in_channels"])
    vae = hollow_component(checkpoint, "vae")
    with torch.inference_mode(), next(vae.parameters()).fake_mode:
        decoded = vae.decode(torch.zeros(1, channels, 8, 8), return_dict=False)[0]
    return int(decoded.shape[-1]) // 8


def _pixels(size: Size) -> int:
    return size.width * size.height
