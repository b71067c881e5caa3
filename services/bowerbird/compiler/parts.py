"""Which component of a checkpoint becomes which graphs: one small table.

A graph has the ports of its role, whatever the class behind it; the engine knows roles only.

    text_encoder    token_ids int64 [batch, length]                    -> states [batch, length, width]
    text_encoder_2  the same                                           -> states, pooled [batch, width]
    denoiser        sample [batch, c, h, w], timestep [batch], states  -> output [batch, c, h, w]
                    and, where the family has them, pooled [batch, width], time_ids [batch, 6], guidance [batch]
    motion_denoiser sample [batch, window, c, h, w], timestep [batch], states -> output [batch, window, c, h, w]
                    (a row is a window of a clip's frames, all at one time and told one prompt), or told a picture:
                    states [batch, 1, width], image_latents [batch, c, h, w], time_ids [batch, 3]
    image_encoder   pictures [batch, 3, size, size], -1..1             -> those states
    decoder         latents [batch, c, h, w]                           -> pictures [batch, 3, H, W], -1..1
                    or, where frames are decoded together, [batch, frames, …] of both
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
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import nn

from bowerbird.compiler import modules
from bowerbird.compiler.animate_diff import MOTION_UNET
from bowerbird.compiler.checkpoint import Checkpoint, CheckpointUnsupported
from bowerbird.compiler.families import PREVIEW, TIME_IDS, Family
from bowerbird.compiler.stable_video import VIDEO_UNET, image_statistics
from bowerbird.engine.bundle import IMAGE_ENCODER, MOTION

Tensors = tuple[torch.Tensor, ...]
PICTURE_SIZE = ("picture_height", "picture_width")
SIDES = {"sample": ("height", "width"), "latents": ("height", "width"), "pictures": PICTURE_SIZE}
"""Of these ports the last two dimensions are a height and a width that may be free, by these names."""


@dataclass(frozen=True, slots=True)
class Shapes:
    """The numbers that example inputs need; what no part of a checkpoint reads stays 0.

    `size_multiple` divides the latents' height and width: what the UNet halves and doubles again. `window` is the
    frames of a row of clips, `decoded_together` those of a row of a decoder that reads several.
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
    decoded_together: int = 0


Examples = Callable[[Shapes, int, torch.Generator], Tensors]


@dataclass(frozen=True, slots=True)
class Part:
    """One graph to be: how to wrap the component, the ports' names, and inputs for `rows` rows from a generator.

    `free` names the dimensions of inputs that are not fixed, by port and dimension; equal names are equal numbers.
    `sides` are the ports whose height and width may be free too (`with_free_size`), and what those are called.
    `wrap` may be given a component whose parameters have shapes but no values (`loading.hollow`): it must not read
    them, and the parameters in what it returns must be the component's own objects.
    """

    role: str
    wrap: Callable[[Any], nn.Module]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    examples: Examples
    free: Mapping[str, Mapping[int, str]]
    sides: Mapping[str, tuple[str, str]] = field(default_factory=lambda: SIDES)


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
    if not family.reads_prompts:
        table |= _video_parts(checkpoint)
    known = table[component]
    if model_class not in known:
        raise CheckpointUnsupported(f"{component} is a {model_class}; this compiler knows {', '.join(known)}.")
    return known[model_class]


def with_free_size(part: Part) -> Part:
    """The same part for pictures of any size."""
    examples = part.examples(SMALLEST, 1, torch.Generator())
    ranks = {port: each.dim() for port, each in zip(part.inputs, examples, strict=True)}
    free = {
        port: {**dimensions, **dict(zip((ranks[port] - 2, ranks[port] - 1), part.sides.get(port, ()), strict=False))}
        for port, dimensions in part.free.items()
    }
    return replace(part, free=free)


def is_of_any_size(part: Part) -> bool:
    """True for what `with_free_size` made."""
    return any({"height", PICTURE_SIZE[0]} & set(names.values()) for names in part.free.values())


SMALLEST = Shapes(1, 1, 1, 1, 1, 1, 1, image_size=1, window=1, decoded_together=1)
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


def _noisy_clips_of_a_picture(shapes: Shapes, rows: int, generator: torch.Generator) -> Tensors:
    sample, _, states = _noisy_clips(shapes, rows, generator)
    (image_latents,) = _latents(shapes, rows, generator)
    quarters_of_log_sigma = torch.linspace(1.6, -1.5, rows)
    time_ids = torch.tensor([[6, 127, 0.02]]).expand(rows, -1).contiguous()
    return sample, quarters_of_log_sigma, states, image_latents, time_ids


def _latents_together(shapes: Shapes, rows: int, generator: torch.Generator) -> Tensors:
    (latents,) = _latents(shapes, rows * shapes.decoded_together, generator)
    return (latents.unflatten(0, (rows, shapes.decoded_together)),)


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


def _video_parts(checkpoint: Checkpoint) -> dict[str, dict[str, tuple[Part, ...]]]:
    mean, deviation = image_statistics(checkpoint)
    look = partial(modules.ImageStates, mean=mean, deviation=deviation)
    draw = partial(modules.VideoDenoiser, scaling=float(checkpoint.config("vae")["scaling_factor"]))
    inputs = (*NOISY, "image_latents", "time_ids")
    denoiser = _part(MOTION, draw, (inputs, ("output",)), _noisy_clips_of_a_picture)
    decoder = _part("decoder", modules.TemporalDecoder, (("latents",), ("pictures",)), _latents_together)
    return {
        IMAGE_ENCODER: {"CLIPVisionModelWithProjection": (_image_encoder(look),)},
        "unet": {VIDEO_UNET: (replace(denoiser, sides=SIDES | {"image_latents": SIDES["latents"]}),)},
        "vae": {"AutoencoderKLTemporalDecoder": (decoder, ENCODER)},
    }


def _image_encoder(wrap: Callable[[Any], nn.Module]) -> Part:
    """It reads one size, whatever sizes are drawn."""
    return replace(_part(IMAGE_ENCODER, wrap, (("pictures",), ("states",)), _images), sides={})


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
