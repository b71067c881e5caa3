"""CLIP text encoders in plain torch: token ids -> hidden states of the last layer but one, and a pooled vector."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - as everybody writes it

from benchmarks.gpu.shapes import TOKENS, Shape, TextShape


class Layer(nn.Module):
    """Causal self-attention and a feed-forward layer, both on normalised input."""

    def __init__(self, shape: TextShape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.norm1, self.norm2 = nn.LayerNorm(shape.width), nn.LayerNorm(shape.width)
        self.qkv, self.out = nn.Linear(shape.width, 3 * shape.width), nn.Linear(shape.width, shape.width)
        self.fc1, self.fc2 = nn.Linear(shape.width, 4 * shape.width), nn.Linear(4 * shape.width, shape.width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            each.unflatten(-1, (self.heads, -1)).transpose(1, 2) for each in self.qkv(self.norm1(x)).chunk(3, -1)
        )
        x = x + self.out(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class TextEncoder(nn.Module):
    """One of the two."""

    def __init__(self, shape: TextShape) -> None:
        super().__init__()
        self.words, self.positions = nn.Embedding(shape.vocabulary, shape.width), nn.Embedding(TOKENS, shape.width)
        self.layers = nn.ModuleList([Layer(shape) for _ in range(shape.layers)])
        self.norm = nn.LayerNorm(shape.width)
        self.projection = nn.Linear(shape.width, shape.projection, bias=False) if shape.projection else None

    def forward(self, token_ids: Tensor) -> tuple[Tensor, Tensor | None]:
        """states [rows, 77, width], pooled [rows, projection] or None; the end token has the largest id."""
        x = states = self.words(token_ids) + self.positions.weight
        for layer in self.layers:
            states, x = x, layer(x)
        if self.projection is None:
            return states, None
        end = self.norm(x)[torch.arange(len(token_ids), device=x.device), token_ids.argmax(-1)]
        return states, self.projection(end)


class TextEncoders(nn.Module):
    """Both, side by side, as SDXL reads them."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.encoders = nn.ModuleList([TextEncoder(each) for each in shape.text])

    def forward(self, token_ids: Tensor) -> tuple[Tensor, Tensor]:
        """states [rows, 77, both widths], pooled [rows, projection]."""
        (first, _), (second, pooled) = (encoder(token_ids) for encoder in self.encoders)
        return torch.cat([first, second], -1), pooled
