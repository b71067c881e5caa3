"""Latents -> pixels: AutoencoderTiny's decoder (TAESDXL's shape) and AutoencoderKL's."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - as everybody writes it

from benchmarks.gpu.shapes import LATENT_CHANNELS, Shape


def pixels(pictures: Tensor) -> Tensor:
    """uint8 [n, height, width, 3] of [n, 3, height, width] in -1..1."""
    return ((pictures.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


class TinyBlock(nn.Module):
    """Three convolutions and a way around them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList([nn.Conv2d(width, width, 3, padding=1) for _ in range(3)])

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for index, conv in enumerate(self.convs):
            y = conv(y) if index == 2 else F.relu(conv(y))
        return F.relu(x + y)


class TinyDecoder(nn.Module):
    """Three levels of three blocks at one width, each enlarged twice; one block at the end."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        width = shape.tiny_decoder_channels
        self.conv_in = nn.Conv2d(LATENT_CHANNELS, width, 3, padding=1)
        self.levels = nn.ModuleList([nn.Sequential(*(TinyBlock(width) for _ in range(3))) for _ in range(3)])
        self.upsamplers = nn.ModuleList([nn.Conv2d(width, width, 3, padding=1, bias=False) for _ in range(3)])
        self.last = TinyBlock(width)
        self.conv_out = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, latents: Tensor) -> Tensor:
        """[n, 3, 8 h, 8 w]."""
        x = F.relu(self.conv_in(torch.tanh(latents / 3) * 3))
        for level, upsampler in zip(self.levels, self.upsamplers, strict=True):
            x = upsampler(F.interpolate(level(x), scale_factor=2.0, mode="nearest"))
        return self.conv_out(self.last(x))


class Resnet(nn.Module):
    """Two convolutions and a way around them."""

    def __init__(self, inputs: int, outputs: int, groups: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(groups, inputs, 1e-6), nn.GroupNorm(groups, outputs, 1e-6)
        self.conv1, self.conv2 = nn.Conv2d(inputs, outputs, 3, padding=1), nn.Conv2d(outputs, outputs, 3, padding=1)
        self.shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut(x) + self.conv2(F.silu(self.norm2(self.conv1(F.silu(self.norm1(x))))))


class FullDecoder(nn.Module):
    """AutoencoderKL's: a middle with one attention, then four levels of three resnets."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        first, groups = shape.decoder_channels[0], shape.norm_groups
        self.conv_in = nn.Conv2d(LATENT_CHANNELS, first, 3, padding=1)
        self.mid = nn.ModuleList([Resnet(first, first, groups) for _ in range(2)])
        self.norm, self.qkv, self.out = (
            nn.GroupNorm(groups, first, 1e-6),
            nn.Linear(first, 3 * first),
            nn.Linear(first, first),
        )
        entering = (first, *shape.decoder_channels[:-1])
        self.levels = nn.ModuleList(
            nn.Sequential(Resnet(i, o, groups), Resnet(o, o, groups), Resnet(o, o, groups))
            for i, o in zip(entering, shape.decoder_channels, strict=True)
        )
        self.upsamplers = nn.ModuleList([nn.Conv2d(c, c, 3, padding=1) for c in shape.decoder_channels[:-1]])
        last = shape.decoder_channels[-1]
        self.norm_out, self.conv_out = nn.GroupNorm(groups, last, 1e-6), nn.Conv2d(last, 3, 3, padding=1)

    def forward(self, latents: Tensor) -> Tensor:
        """[n, 3, 8 h, 8 w]."""
        x = self.mid[1](self._attend(self.mid[0](self.conv_in(latents))))
        for index, level in enumerate(self.levels):
            x = level(x)
            if index < len(self.upsamplers):
                x = self.upsamplers[index](F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return self.conv_out(F.silu(self.norm_out(x)))

    def _attend(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        tokens = self.norm(x).permute(0, 2, 3, 1).flatten(1, 2)
        q, k, v = (each[:, None] for each in self.qkv(tokens).chunk(3, -1))
        mixed = self.out(F.scaled_dot_product_attention(q, k, v)[:, 0])
        return x + mixed.unflatten(1, (height, width)).permute(0, 3, 1, 2)
