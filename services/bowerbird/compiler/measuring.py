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
from bowerbird.compiler.parts import Shapes, parts_of
from bowerbird.contracts import Size
from bowerbird.engine.bundle import IMAGE_ENCODER, LatentFacts


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
    latents = LatentFacts(channels=int(unet["out_channels"]), downscale=_downscale(checkpoint, family))
    multiple = 2 ** (len(unet["block_out_channels"]) - 1)
    wanted = tuple(dict.fromkeys(sizes)) or (_own_size(unet, latents.downscale),)
    step = multiple * latents.downscale
    for size in wanted:
        if size.width % step or size.height % step:
            raise CheckpointUnsupported(f"{size} cannot be drawn: the sides must be multiples of {step}.")
    shapes = replace(
        _told_a_prompt(checkpoint, family) if family.reads_prompts else _told_a_picture(checkpoint),
        latent_channels=latents.channels,
        downscale=latents.downscale,
        size_multiple=multiple,
        window=family.motion.window if family.motion else 0,
        decoded_together=family.motion.decoded_together if family.motion else 0,
    )
    ordered = [latents.shape(size) for size in sorted(wanted, key=_pixels)]
    each = tuple(replace(shapes, latent_height=height, latent_width=width) for _, height, width in ordered)
    return Measured(wanted, latents, each)


def _told_a_prompt(checkpoint: Checkpoint, family: Family) -> Shapes:
    texts = [checkpoint.config(name) for name in family.text_encoders]
    return Shapes(
        tokens=min(int(text["max_position_embeddings"]) for text in texts),
        vocabulary=min(int(text["vocab_size"]) for text in texts),
        text_width=sum(int(text["hidden_size"]) for text in texts),
        pooled_width=int(texts[-1]["projection_dim"]) if family.size_conditioned else 0,
    )


def _told_a_picture(checkpoint: Checkpoint) -> Shapes:
    image = checkpoint.config(IMAGE_ENCODER)
    return Shapes(1, 0, text_width=int(image["projection_dim"]), image_size=int(image["image_size"]))


def _own_size(unet: dict[str, Any], downscale: int) -> Size:
    sample = unet["sample_size"]
    height, width = sample if isinstance(sample, (list, tuple)) else (sample, sample)
    return Size(width=width * downscale, height=height * downscale)


def _downscale(checkpoint: Checkpoint, family: Family) -> int:
    channels = int(checkpoint.config("unet")["out_channels"])
    shapes = Shapes(1, 1, latent_channels=channels, latent_height=8, latent_width=8, decoded_together=1)
    vae, decoder = hollow_component(checkpoint, "vae"), parts_of(checkpoint, family, "vae")[0]
    with torch.inference_mode(), next(vae.parameters()).fake_mode:
        decoded = decoder.wrap(vae)(*decoder.examples(shapes, 1, torch.Generator()))
    return int(decoded.shape[-1]) // 8


def _pixels(size: Size) -> int:
    return size.width * size.height
