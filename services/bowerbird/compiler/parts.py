"""Which class of a checkpoint becomes which graphs: one small table.

A graph has the ports of its role, whatever the class behind it; the engine knows roles only. The modules below do
nothing but bring a class' `forward` to those ports.

    text_encoder   token_ids int64 [batch, length]                            -> states [batch, length, width]
    denoiser       sample [batch, c, h, w], timestep float32 [batch], states  -> output [batch, c, h, w]
    decoder        latents [batch, c, h, w]                                   -> pictures [batch, 3, H, W], -1..1
    encoder        pictures [batch, 3, H, W], -1..1                           -> latents (the distribution's mode)

and of a judge, whose two graphs put pictures and texts into one space:

    image_encoder  pictures [batch, 3, size, size], normalised                -> embeddings [batch, d]
    text_encoder   token_ids int64 [batch, length]                            -> embeddings [batch, d]
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from bowerbird.compiler.checkpoint import Checkpoint, CheckpointUnsupported

Tensors = tuple[torch.Tensor, ...]


@dataclass(frozen=True, slots=True)
class Shapes:
    """The numbers that example inputs need; what no part of a checkpoint reads stays 0."""

    tokens: int
    vocabulary: int
    text_width: int = 0
    latent_channels: int = 0
    latent_height: int = 0
    latent_width: int = 0
    downscale: int = 0
    image_size: int = 0


@dataclass(frozen=True, slots=True)
class Part:
    """One graph to be: how to wrap the component, the ports' names, and inputs for `rows` rows from a generator."""

    role: str
    wrap: Callable[[Any], nn.Module]
    inputs: tuple[str, ...]
    output: str
    examples: Callable[[Shapes, int, torch.Generator], Tensors]


class _TextEncoder(nn.Module):
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, token_ids: torch.Tensor) -> torch.Tensor:
        states: torch.Tensor = self.model(token_ids).last_hidden_state
        return states


class _Denoiser(nn.Module):
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, sample: torch.Tensor, timestep: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.model(sample, timestep, states, return_dict=False)[0]
        return output


class _Decoder(nn.Module):
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        pictures: torch.Tensor = self.model.decode(latents, return_dict=False)[0]
        return pictures


class _Encoder(nn.Module):
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        encoded = self.model.encode(pictures, return_dict=False)[0]
        latents: torch.Tensor = encoded if isinstance(encoded, torch.Tensor) else encoded.mode()
        return latents


def _token_ids(shapes: Shapes, rows: int, generator: torch.Generator) -> Tensors:
    return (torch.randint(shapes.vocabulary, (rows, shapes.tokens), generator=generator),)


def _noisy(shapes: Shapes, rows: int, generator: torch.Generator) -> Tensors:
    timestep = torch.linspace(999, 20, rows).round()
    states = torch.randn(rows, shapes.tokens, shapes.text_width, generator=generator)
    return (*_latents(shapes, rows, generator), timestep, states)


def _latents(shapes: Shapes, rows: int, generator: torch.Generator) -> Tensors:
    shape = (rows, shapes.latent_channels, shapes.latent_height, shapes.latent_width)
    return (torch.randn(shape, generator=generator),)


def _pictures(shapes: Shapes, rows: int, generator: torch.Generator) -> Tensors:
    height, width = shapes.latent_height * shapes.downscale, shapes.latent_width * shapes.downscale
    return (torch.rand(rows, 3, height, width, generator=generator) * 2 - 1,)


def _images(shapes: Shapes, rows: int, generator: torch.Generator) -> Tensors:
    return (torch.rand(rows, 3, shapes.image_size, shapes.image_size, generator=generator),)


TEXT_ENCODER = Part("text_encoder", _TextEncoder, ("token_ids",), "states", _token_ids)
DENOISER = Part("denoiser", _Denoiser, ("sample", "timestep", "states"), "output", _noisy)
DECODER = Part("decoder", _Decoder, ("latents",), "pictures", _latents)
ENCODER = Part("encoder", _Encoder, ("pictures",), "latents", _pictures)
# Not `embedding`: torch calls its own look-up so, and the exporter then defines the name twice.
JUDGE_PARTS = (
    Part("image_encoder", lambda judge: judge.image, ("pictures",), "embeddings", _images),
    Part("text_encoder", lambda judge: judge.text, ("token_ids",), "embeddings", _token_ids),
)

PARTS: dict[tuple[str, str], tuple[Part, ...]] = {
    ("text_encoder", "CLIPTextModel"): (TEXT_ENCODER,),
    ("unet", "UNet2DConditionModel"): (DENOISER,),
    ("vae", "AutoencoderKL"): (DECODER, ENCODER),
    ("vae", "AutoencoderDC"): (DECODER, ENCODER),
    ("vae", "AutoencoderTiny"): (DECODER, ENCODER),
}
COMPONENTS = tuple(dict.fromkeys(component for component, _ in PARTS))


def parts_of(checkpoint: Checkpoint, component: str) -> tuple[Part, ...]:
    """The graphs that a component becomes; raises CheckpointUnsupported naming its class and those that are known."""
    model_class = checkpoint.class_of(component)
    known = PARTS.get((component, model_class))
    if known is None:
        names = ", ".join(sorted(each for where, each in PARTS if where == component))
        raise CheckpointUnsupported(f"{component} is a {model_class}; this compiler knows {names}.")
    return known
