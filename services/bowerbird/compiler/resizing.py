"""How diffusers makes a picture as small as CLIP reads it, as matrices: found by asking its own function.

`compiling` calls `derive_resizes` for bundles whose clips are told a picture; `engine.model.image_conditioning` applies
the result. Stable Video Diffusion was taught on pictures that were blurred and then resized by bicubic interpolation;
Pillow's filters come near it and are not it. Both act on rows and on columns alike, and are linear, so that what they
make of the lines of the identity matrix is all that they do: `rows @ picture @ columns.T` is the resized picture.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
import torch

from bowerbird.contracts import Size
from bowerbird.engine.backend import Floats

ACROSS = 4
"""Pixels of a line: enough to blur it across, which leaves alike pixels as they are."""


def derive_resizes(sizes: Sequence[Size], target: int) -> dict[str, Floats]:
    """By side of any of the sizes, float32 `[target, side]`."""
    sides = sorted({side for size in sizes for side in (size.height, size.width)})
    return {str(side): _matrix(side, target) for side in sides}


def resized(pictures: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """`[n, channels, height, width]` of pictures of any size, as diffusers' pipeline resizes them."""
    answer: torch.Tensor = _pipeline()._resize_with_antialiasing(pictures, (height, width))
    return answer


@cache
def _pipeline() -> Any:
    """The pipeline's module; at its import transformers warns that a processor that nobody asks wants torchvision."""
    logging.disable(logging.WARNING)
    try:
        return import_module("diffusers.pipelines.stable_video_diffusion.pipeline_stable_video_diffusion")
    finally:
        logging.disable(logging.NOTSET)


def _matrix(side: int, target: int) -> Floats:
    lines = torch.eye(side, dtype=torch.float64)[:, None, :, None].expand(-1, -1, -1, ACROSS).contiguous()
    answers = resized(lines, target, ACROSS)
    return np.ascontiguousarray(answers[:, 0, :, 0].T.numpy(), np.float32)
