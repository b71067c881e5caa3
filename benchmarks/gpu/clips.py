"""G7: a clip of AnimateDiff in Stable Diffusion 1.5's shape, from noise to frames in host memory.

The denoiser is diffusers' UNetMotionModel with random weights (a step costs the same whatever they mean), so the row
needs diffusers; guided: two rows of sixteen frames a step, captured as one CUDA graph or called eagerly. The decoder is
AutoencoderKL's, a frame at a time. The prompt's hidden states are given: a text encoder is a thousandth of a clip.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from benchmarks.gpu.meter import Meter
from benchmarks.gpu.painter import GUIDANCE_SCALE, SIGMA_MAX, Model, Painter
from benchmarks.gpu.replay import Replay
from benchmarks.gpu.shapes import DOWNSCALE, LATENT_CHANNELS, TOKENS, MotionShape
from benchmarks.report import Row

GOAL_SECONDS = 8.0


def motion_config(shape: MotionShape) -> dict[str, Any]:
    """`config.json` of a UNetMotionModel of this shape."""
    *others, last = ["CrossAttn"] * (len(shape.channels) - 1) + [""]
    down = [f"{each}DownBlockMotion" for each in (*others, last)]
    return {
        "block_out_channels": shape.channels,
        "down_block_types": tuple(down),
        "up_block_types": tuple(each.replace("Down", "Up") for each in reversed(down)),
        "layers_per_block": shape.resnets_per_level,
        "num_attention_heads": shape.heads,
        "cross_attention_dim": shape.states_width,
        "norm_num_groups": shape.norm_groups,
        "motion_num_attention_heads": shape.heads,
        "motion_max_seq_length": 2 * shape.window,
        "use_motion_mid_block": False,
    }


def measure(model: Model, shape: MotionShape, meter: Meter, side: int, steps: int) -> Iterator[Row]:
    """Lines for eager and for CUDA graphs; says so where there is no diffusers."""
    what = f"AnimateDiff, SD 1.5-shaped: {shape.window} frames of {side}², {steps} steps, guided, full decoder"
    try:
        unet = _denoiser(model, shape)
    except ImportError as error:
        yield Row("G7", what, "torch, CUDA graphs", f"<= {GOAL_SECONDS:g} s", note=f"diffusers is not here: {error}")
        return
    seconds: dict[str, float] = {}
    for backend, name in (("eager", "torch, eager"), ("graphs", "torch, CUDA graphs")):
        painter = Painter(model, backend, full_decoder=True)
        seconds[backend] = meter.median(_drawing(painter, unet, shape, side, steps), 3)
        note = "the peer" if backend == "eager" else f"{seconds['eager'] / seconds['graphs']:.2f}x eager"
        holds = seconds[backend] <= GOAL_SECONDS if backend == "graphs" else None
        goal = f"<= {GOAL_SECONDS:g} s" if backend == "graphs" else ""
        yield Row("G7", what, name, goal, f"{seconds[backend]:.2f} s", holds, seconds[backend], note)


def _denoiser(model: Model, shape: MotionShape) -> Any:
    from diffusers import UNetMotionModel

    with torch.device(model.device):
        unet = UNetMotionModel(**motion_config(shape))
    return unet.to(model.dtype).eval().requires_grad_(False)


def _drawing(painter: Painter, unet: Any, shape: MotionShape, side: int, steps: int) -> Callable[[], object]:
    """A clip: uint8 [window, side, side, 3] in host memory."""
    model = painter.model
    generator = torch.Generator().manual_seed(7)
    latent_side = side // DOWNSCALE
    size = (1, LATENT_CHANNELS, shape.window, latent_side, latent_side)
    noise = torch.randn(size, generator=generator).to(model.dtype)
    states = torch.randn(2, TOKENS, shape.states_width, generator=generator).to(model.device, model.dtype)

    def step(latents: Tensor, sigma: Tensor, following: Tensor) -> Tensor:
        rows = latents.repeat(2, 1, 1, 1, 1) * torch.rsqrt(sigma**2 + 1).to(latents.dtype)
        timestep = (999 * (sigma / SIGMA_MAX) ** 0.5).expand(2)
        repeated = states.repeat_interleave(shape.window, 0)
        negative, positive = unet(rows, timestep, repeated, return_dict=False)[0].chunk(2)
        return latents + (following - sigma).to(latents.dtype) * (negative + GUIDANCE_SCALE * (positive - negative))

    schedule = painter.schedule(steps)
    begun = (noise * SIGMA_MAX).to(model.device)
    on_gpu = painter.backend == "graphs" and model.device == "cuda"
    pool = torch.cuda.graph_pool_handle() if on_gpu else None
    stepped = Replay(step, (begun, *schedule[0]), pool) if painter.backend == "graphs" else step

    def draw() -> object:
        latents = (noise * SIGMA_MAX).to(model.device)
        for sigma, following in schedule:
            latents = stepped(latents, sigma, following)
        frames = latents[0].transpose(0, 1).clone()
        return [painter.decode(frame).cpu() for frame in frames.split(1)]

    return draw
