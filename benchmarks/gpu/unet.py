"""SDXL's UNet in plain torch, structured and named as diffusers' UNet2DConditionModel.

Ports are the engine's: sample [rows, 4, h, w], timestep [rows], states [rows, 77, width], pooled and time_ids. A row
has its own timestep, so rows of different requests and steps share one call. Every linear layer of an attention can
carry a LoRA by row (lora.py).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - as everybody writes it

from benchmarks.gpu.lora import Projection
from benchmarks.gpu.shapes import LATENT_CHANNELS, Shape

Skips = list[Tensor]


def sinusoids(values: Tensor, width: int) -> Tensor:
    """Cosines, then sines, of `values` [n] over geometric frequencies: [n, width] (flip_sin_to_cos, no shift)."""
    half = width // 2
    frequencies = torch.exp(-math.log(10_000) / half * torch.arange(half, device=values.device, dtype=torch.float32))
    angles = values.float()[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], -1)


class Embedding(nn.Module):
    """Two linear layers with SiLU between: a scalar's sinusoids, or what is added to them, as one vector."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.linear_1, self.linear_2 = nn.Linear(width, out), nn.Linear(out, out)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear_2(F.silu(self.linear_1(x)))


class Resnet(nn.Module):
    """Two convolutions, moved by the time embedding."""

    def __init__(self, inputs: int, outputs: int, time: int, groups: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(groups, inputs, 1e-5), nn.GroupNorm(groups, outputs, 1e-5)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.time_emb_proj = nn.Linear(time, outputs)
        self.conv_shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        moved = self.conv1(F.silu(self.norm1(x))) + self.time_emb_proj(F.silu(time))[:, :, None, None]
        return self.conv_shortcut(x) + self.conv2(F.silu(self.norm2(moved)))


class Attention(nn.Module):
    """Multi-head attention by torch's scaled_dot_product_attention."""

    def __init__(self, width: int, states: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = Projection(width, width, bias=False)
        self.to_k = Projection(states, width, bias=False)
        self.to_v = Projection(states, width, bias=False)
        self.to_out = nn.ModuleList([Projection(width, width)])

    def forward(self, x: Tensor, states: Tensor) -> Tensor:
        q, k, v = (
            each.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for each in (self.to_q(x), self.to_k(states), self.to_v(states))
        )
        mixed = F.scaled_dot_product_attention(q, k, v)
        return self.to_out[0](mixed.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """One transformer block: self-attention, cross-attention, GEGLU."""

    def __init__(self, width: int, states: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        self.attn1, self.attn2 = Attention(width, width, heads), Attention(width, states, heads)
        self.proj, self.out = nn.Linear(width, 8 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor, states: Tensor) -> Tensor:
        itself = self.norm1(x)
        x = x + self.attn1(itself, itself)
        x = x + self.attn2(self.norm2(x), states)
        value, gate = self.proj(self.norm3(x)).chunk(2, -1)
        return x + self.out(value * F.gelu(gate))


class Transformer(nn.Module):
    """`depth` blocks over a picture's pixels as tokens."""

    def __init__(self, width: int, depth: int, shape: Shape) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(shape.norm_groups, width, 1e-6)
        self.proj_in, self.proj_out = nn.Linear(width, width), nn.Linear(width, width)
        heads = width // shape.head_width
        self.transformer_blocks = nn.ModuleList([Block(width, shape.states_width, heads) for _ in range(depth)])

    def forward(self, x: Tensor, states: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        tokens = self.proj_in(self.norm(x).permute(0, 2, 3, 1).flatten(1, 2))
        for block in self.transformer_blocks:
            tokens = block(tokens, states)
        return x + self.proj_out(tokens).unflatten(1, (height, width)).permute(0, 3, 1, 2)


class Level(nn.Module):
    """One level, down or up: resnets, each with its transformer where the level has depth."""

    def __init__(self, widths: list[tuple[int, int]], depth: int, shape: Shape) -> None:
        super().__init__()
        self.resnets = nn.ModuleList([Resnet(i, o, shape.time_width, shape.norm_groups) for i, o in widths])
        self.attentions = nn.ModuleList([Transformer(o, depth, shape) for _, o in widths if depth])

    def layer(self, index: int, x: Tensor, time: Tensor, states: Tensor) -> Tensor:
        """Resnet `index` and its transformer."""
        x = self.resnets[index](x, time)
        return self.attentions[index](x, states) if len(self.attentions) else x


class UNet(nn.Module):
    """The denoiser; 2.567 thousand million parameters in SDXL's shape."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        first, last, n = shape.channels[0], shape.channels[-1], shape.resnets_per_level
        self.conv_in = nn.Conv2d(LATENT_CHANNELS, first, 3, padding=1)
        self.time_embedding = Embedding(first, shape.time_width)
        self.add_embedding = Embedding(shape.added_width, shape.time_width)
        entering = (first, *shape.channels[:-1])
        self.down_blocks = nn.ModuleList(
            Level([(i, o)] + [(o, o)] * (n - 1), depth, shape)
            for i, o, depth in zip(entering, shape.channels, shape.depths, strict=True)
        )
        self.downsamplers = nn.ModuleList(nn.Conv2d(c, c, 3, 2, 1) for c in shape.channels[:-1])
        self.mid_block = Level([(last, last)], shape.depths[-1], shape)
        self.mid_resnet = Resnet(last, last, shape.time_width, shape.norm_groups)
        self.up_blocks = nn.ModuleList(self._up_levels(entering))
        self.upsamplers = nn.ModuleList(nn.Conv2d(c, c, 3, padding=1) for c in shape.channels[:0:-1])
        self.conv_norm_out = nn.GroupNorm(shape.norm_groups, first, 1e-5)
        self.conv_out = nn.Conv2d(first, LATENT_CHANNELS, 3, padding=1)

    def _up_levels(self, entering: tuple[int, ...]) -> list[Level]:
        shape, n = self.shape, self.shape.resnets_per_level
        levels, below = [], shape.channels[-1]
        for width, skip, depth in zip(shape.channels[::-1], entering[::-1], shape.depths[::-1], strict=True):
            levels.append(
                Level([(below + width, width)] + [(2 * width, width)] * (n - 1) + [(width + skip, width)], depth, shape)
            )
            below = width
        return levels

    def forward(self, sample: Tensor, timestep: Tensor, states: Tensor, pooled: Tensor, time_ids: Tensor) -> Tensor:
        """The denoiser's output, the shape of `sample`."""
        time = self._time(timestep, pooled, time_ids)
        x = self.conv_in(sample)
        x, skips = self._down(x, time, states)
        x = self.mid_resnet(self.mid_block.layer(0, x, time, states), time)
        x = self._up(x, skips, time, states)
        return self.conv_out(F.silu(self.conv_norm_out(x)))

    def _time(self, timestep: Tensor, pooled: Tensor, time_ids: Tensor) -> Tensor:
        shape, dtype = self.shape, self.conv_in.weight.dtype
        ids = sinusoids(time_ids.flatten(), shape.time_id_width).view(len(timestep), -1)
        added = self.add_embedding(torch.cat([pooled, ids.to(dtype)], -1))
        return self.time_embedding(sinusoids(timestep, shape.channels[0]).to(dtype)) + added

    def _down(self, x: Tensor, time: Tensor, states: Tensor) -> tuple[Tensor, Skips]:
        skips = [x]
        for level, block in enumerate(self.down_blocks):
            for index in range(len(block.resnets)):
                x = block.layer(index, x, time, states)
                skips.append(x)
            if level < len(self.downsamplers):
                x = self.downsamplers[level](x)
                skips.append(x)
        return x, skips

    def _up(self, x: Tensor, skips: Skips, time: Tensor, states: Tensor) -> Tensor:
        for level, block in enumerate(self.up_blocks):
            for index in range(len(block.resnets)):
                x = block.layer(index, torch.cat([x, skips.pop()], 1), time, states)
            if level < len(self.upsamplers):
                x = self.upsamplers[level](F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return x
