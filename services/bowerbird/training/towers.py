"""A small convolutional tower, from pixels to a vector; the judge and the classifiers each have one of their own.

Called by `judge`, `classifier` and `clip_classifier`. Exports to ONNX as it stands: convolutions, group norms,
SiLU, one mean.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from torch import Tensor, nn


class _Residual(nn.Module):
    """Pre-normalised residual block of two 3 × 3 convolutions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.GroupNorm(8, channels), nn.SiLU(), nn.Conv2d(channels, channels, 3, padding=1),
            nn.GroupNorm(8, channels), nn.SiLU(), nn.Conv2d(channels, channels, 3, padding=1),
        )  # fmt: skip

    def forward(self, features: Tensor) -> Tensor:
        """float [n, channels, h, w] to the same shape."""
        change: Tensor = self.layers(features)
        return features + change


class ConvTower(nn.Module):
    """float32 [n, planes, side, side] in 0..1 to [n, width]; `side` a multiple of 4 · 2 to the stages less one."""

    def __init__(self, channels: tuple[int, ...], width: int, planes: int = 3) -> None:
        super().__init__()
        layers: list[nn.Module] = [
            nn.PixelUnshuffle(4),
            nn.Conv2d(16 * planes, channels[0], 3, padding=1),
            _Residual(channels[0]),
        ]
        for before, after in pairwise(channels):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), _Residual(after)]
        self.features = nn.Sequential(*layers, nn.GroupNorm(8, channels[-1]), nn.SiLU())
        self.last = nn.Linear(channels[-1], width)

    def forward(self, pixels: Tensor) -> Tensor:
        """Vectors of pictures."""
        pooled = self.features(pixels * 2 - 1).mean((2, 3))
        vector: Tensor = self.last(pooled)
        return vector


def parameter_count(module: Any) -> int:
    """How many parameters a module has."""
    return sum(parameter.numel() for parameter in module.parameters())
