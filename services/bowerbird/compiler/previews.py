"""The linear preview of a checkpoint: fitted to its own autoencoder and, where there are some, to pictures it drew.

Pictures go through the bundle's encoder; least squares then says how each latent pixel becomes a block of pixels. That
such a map shows what is being drawn is known from Stable Diffusion's 4 channels; an autoencoder with many channels
keeps more of a block in them, so its block is larger.

Which pictures: the two that the last gate of `compiling` draws, since the map is for what the model draws and for
nothing else (fledgling: the error on its kind of pictures falls from 0.34 to 0.23 of -1..1, and there is a bird
where there were blocks of false colour). Where none were drawn, coloured fields, coarse and fine.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import interpolate

from bowerbird.contracts import Size
from bowerbird.engine.backend import Floats, Session
from bowerbird.engine.bundle import LatentFacts, LinearPreview

WANTED_POSITIONS = 1024
MAX_PICTURES = 64
RIDGE = 1e-4


def fit_preview(
    encoder: Session, latents: LatentFacts, size: Size, drawn: Sequence[NDArray[np.uint8]] = ()
) -> LinearPreview:
    """The map that comes nearest, over pictures of `size`: those in `drawn`, uint8 `[height, width, 3]`, or made up."""
    scale = _scale(latents)
    read, shown = [], []
    pictures = (pixels.astype(np.float32).transpose(2, 0, 1) / 127.5 - 1 for pixels in drawn)
    for picture in pictures if drawn else _fields(latents, size):
        answer = encoder.run({"pictures": picture[None]})["latents"][0]
        read.append(answer.reshape(latents.channels, -1).T)
        shown.append(_blocks(picture, latents.downscale, scale))
    inputs = np.concatenate(read).astype(np.float64)
    outputs = np.concatenate(shown).astype(np.float64)
    inputs = np.concatenate([inputs, np.ones((len(inputs), 1))], axis=1)
    gram = inputs.T @ inputs / len(inputs)
    solution = np.linalg.solve(gram + RIDGE * np.eye(len(gram)), inputs.T @ outputs / len(inputs))
    return LinearPreview(scale=scale, weights=solution[:-1].T.tolist(), bias=solution[-1].tolist())


def _scale(latents: LatentFacts) -> int:
    """Pixels of a block's side: as many as the channels can tell apart, and a divisor of `downscale`."""
    return math.gcd(4 if latents.channels > 4 else 2, latents.downscale)


def _fields(latents: LatentFacts, size: Size) -> Iterator[Floats]:
    """float32 `[3, height, width]` in -1..1."""
    positions = (size.height // latents.downscale) * (size.width // latents.downscale)
    generator = torch.Generator().manual_seed(0)
    for _ in range(min(MAX_PICTURES, math.ceil(WANTED_POSITIONS / positions))):
        fields = [torch.rand(1, 3, cells, cells, generator=generator) * 2 - 1 for cells in (2, 5, 12)]
        large = [interpolate(field, (size.height, size.width), mode="bilinear") for field in fields]
        picture = large[0] + 0.5 * large[1] + 0.25 * large[2]
        yield picture.clamp(-1, 1)[0].numpy()


def _blocks(picture: Floats, downscale: int, scale: int) -> Floats:
    """`[positions, 3 * scale * scale]`: each latent pixel's block of pixel means, colour first."""
    _, height, width = picture.shape
    rows, columns, cell = height // downscale, width // downscale, downscale // scale
    means = picture.reshape(3, rows, scale, cell, columns, scale, cell).mean(axis=(3, 6))
    blocks: Floats = means.transpose(1, 3, 0, 2, 4).reshape(rows * columns, 3 * scale * scale)
    return blocks
