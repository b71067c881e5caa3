"""Which component of a checkpoint becomes which graphs: one small table.

A graph has the ports of its role, whatever the class behind it; the engine knows roles only.

    text_encoder    token_ids int64 [batch, length]                    -> states [batch, length, width]
    text_encoder_2  the same                                           -> states, pooled [batch, width]
    denoiser        sample [batch, c, h, w], timestep [batch], states  -> output [batch, c, h, w]
                    and, where the family has them, pooled [batch, width], time_ids [batch, 6], guidance [batch]
    motion_denoiser sample [batch, window, c, h, w], timestep [batch], states -> output [batch, window, c, h, w]
                    (a row is a window of a clip's frames, all at one time and told one prompt)
    decoder         latents [batch, c, h, w]                           -> pictures [batch, 3, H, W], -1..1
    preview         the same, of a tiny autoencoder
    encoder         pictures [batch, 3, H, W], -1..1                   -> latents (the distribution's mode)

and of a judge, whose two graphs put pictures and texts into one space:

    image_encoder   pictures [batch, 3, size, size], normalised        -> embeddings [batch, d]
    text_encoder    token_ids int64 [batch, length]                    -> embeddings [batch, d]

All floats are float32. `lora_graph.lora_part` makes a second graph of a part, with more ports; the residuals of a
ControlNet will be such ports too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from bowerbird.compiler import modules
from bowerbird.compiler.animate_diff import MOTION_UNET
from bowerbird.compiler.checkpoint import Checkpoint, CheckpointUnsupported
from bowerbird.compiler.families import PREVIEW, TIME_IDS, Family
from bowerbird.engine.bundle import MOTION

Tensors = tuple[torch.Tensor, ...]


@dataclass(frozen=True, slots=True)
class Shapes:
    """The numbers that example inputs need; what no part of a checkpoint reads stays 0.

    `size_multiple` divides the latents' height and width: what the UNet halves and doubles again. `window` is the
    frames of a row of clips.
    """

    tokens: int
    vocabulary: int
    text_width: int = 0
    pooled_width: int = 0
    latent_channels: int = 0
    latent_height: int = 0
    latent_width: int = 0
    downscale: int = 1
    size_multiple: int = 1
    image_size: int = 0
    window: int = 0


Examples = Callable[[Shapes, int, torch.Generator], Tensors]


@dataclass(frozen=True, slots=True)
class Part:
    """One graph to be: how to wrap the component, the ports' names, and inputs for `rows` rows from a generator.

    `free` names the dimensions of inputs that are not fixed, by port and dimension; equal names are equal numbers.
    `wrap` may be given a component whose parameters have shapes but no values (`loading.hollow`): it must not read
    them, and the parameters in what it returns must be the component's own objects.
    """

    role: str
    wrap: Callable[[Any], nn.Module]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    examples: Examples
    free: Mapping[str, Mapping[int, str]]


def parts_of(checkpoint: Checkpoint, family: Family, component: str) -> tuple[Part, ...]:
    """The graphs that a component becomes; raises CheckpointUnsupported naming its class and those that are known."""
    model_class = checkpoint.class_of(component)
    table: dict[str, dict[str, tuple[Part, ...]]] = {
        "text_encoder": {"CLIPTextModel": (_text_encoder(family),)},
        "text_encoder_2": {"CLIPTextModelWithProjection": (TEXT_ENCODER_2,)},
        "unet": {"UNet2DConditionModel": (_denoiser(family),), MOTION_UNET: (MOTION_DENOISER,)},
        "vae": dict.fromkeys(("AutoencoderKL", "AutoencoderDC", "AutoencoderTiny"), (DECODER, ENCODER)),
        PREVIEW: {"AutoencoderTiny": (PREVIEW_DECODER,)},
    }
    known = table[component]
    if model_class not in known:
        raise CheckpointUnsupported(f"{component} is a {model_class}; this compiler knows {', '.join(known)}.")
    return known[model_class]


def with_free_size(part: Part) -> Part:
    """The same part for pictures of any size."""
    names = {"sample": ("height", "width"), "latents": ("height", "width"), "pictures": PICTURE_SIZE}
    first = 3 if part.role == MOTION else 2
    free = {
        port: {**dimensions, first: names[port][0], first + 1: names[port][1]} if port in names else dimensions
        for port, dimensions in part.free.items()
    }
    return replace(part, free=free)


def is_of_any_size(part: Part) -> bool:
    """True for what `with_free_size` made."""
    return any({"height", PICTURE_SIZE[0]} & set(names.values()) for names in part.free.values())


PICTURE_SIZE = ("picture_height", "picture_width")
Ports = tuple[tuple[str, ...], tuple[str, ...]]


def _part(role: str, wrap: Callable[[Any], nn.Module], ports: Ports, examples: Examples) -> Part:
    return Part(role, wrap, *ports, examples, {name: {0: "batch"} for name in ports[0]})


def _token_ids(shapes: Shapes, rows: int, generator: torch.Generator) -> Tensors:
    return (torch.randint(shapes.vocabulary, (rows, shapes.tokens), generator=generator),)


def _noisy(shapes: Shapes, rows: int, generator: torch.Generator) -> Tensors:
    timestep = torch.linspace(999, 20, rows).round()
    states = torch.randn(rows, shapes.tokens, shapes.text_width, generator=generator)
    return (*_latents(shapes, rows, generator), timestep, states)


def _sized(shapes: Shapes, rows: int, generator: torch.Generator) -> Tensors:
    height, width = shapes.latent_height * shapes.downscale, shapes.latent_width * shapes.downscale
    time_ids = torch.tensor([[height, width, 0, 0, height, width]], dtype=torch.float32)
    pooled = torch.randn(rows, shapes.pooled_width, generator=generator)
    return (*_noisy(shapes, rows, generator), pooled, time_ids.expand(rows, TIME_IDS).contiguous())


def _noisy_clips(shapes: Shapes, rows: int, generator: torch.Generator) -> Tensors:
    _, timestep, states = _noisy(shapes, rows, generator)
    (latents,) = _latents(shapes, rows * shapes.window, generator)
    return latents.unflatten(0, (rows, shapes.window)), timestep, states


def _latents(shapes: Shapes, rows: int, generator: torch.Generator) -> Tensors:
    shape = (rows, shapes.latent_channels, shapes.latent_height, shapes.latent_width)
    return (torch.randn(shape, generator=generator),)


def _pictures(shapes: Shapes, rows: int, generator: torch.Generator) -> Tensors:
    height, width = shapes.latent_height * shapes.downscale, shapes.latent_width * shapes.downscale
    return (torch.rand(rows, 3, height, width, generator=generator) * 2 - 1,)


def _images(shapes: Shapes, rows: int, generator: torch.Generator) -> Tensors:
    return (torch.rand(rows, 3, shapes.image_size, shapes.image_size, generator=generator),)


def _guided(examples: Examples) -> Examples:
    return lambda shapes, rows, generator: (*examples(shapes, rows, generator), torch.linspace(1.5, 8.5, rows))


def _text_encoder(family: Family) -> Part:
    wrap = modules.PenultimateStates if len(family.text_encoders) == 2 else modules.LastStates
    return _part("text_encoder", wrap, (("token_ids",), ("states",)), _token_ids)


def _denoiser(family: Family) -> Part:
    wrap, inputs, examples = DENOISERS[family.size_conditioned, family.embeds_guidance]
    return _part("denoiser", wrap, (inputs, ("output",)), examples)


NOISY = ("sample", "timestep", "states")
SIZED = (*NOISY, "pooled", "time_ids")
DENOISERS: dict[tuple[bool, bool], tuple[type[nn.Module], tuple[str, ...], Examples]] = {
    (False, False): (modules.Denoiser, NOISY, _noisy),
    (True, False): (modules.SizeConditionedDenoiser, SIZED, _sized),
    (False, True): (modules.GuidedDenoiser, (*NOISY, "guidance"), _guided(_noisy)),
    (True, True): (modules.SizeConditionedGuidedDenoiser, (*SIZED, "guidance"), _guided(_sized)),
}
"""By (told of sizes, told of the guidance scale)."""

TEXT_ENCODER_2 = _part(
    "text_encoder_2", modules.PenultimateStatesAndPooled, (("token_ids",), ("states", "pooled")), _token_ids
)
MOTION_DENOISER = _part(MOTION, modules.MotionDenoiser, (NOISY, ("output",)), _noisy_clips)
DECODER = _part("decoder", modules.Decoder, (("latents",), ("pictures",)), _latents)
PREVIEW_DECODER = replace(DECODER, role="preview")
ENCODER = _part("encoder", modules.Encoder, (("pictures",), ("latents",)), _pictures)
# Not `embedding`: torch calls its own look-up so, and the exporter then defines the name twice.
JUDGE_PARTS = (
    _part("image_encoder", lambda judge: judge.image, (("pictures",), ("embeddings",)), _images),
    _part("text_encoder", lambda judge: judge.text, (("token_ids",), ("embeddings",)), _token_ids),
)
