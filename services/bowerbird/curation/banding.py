"""`banding_index`: how visibly a smooth gradient falls into steps.

Called by `measures`. It is a reduction of Netflix' CAMBI (libvmaf, `cambi.c`) and deliberately not called so: the mask
of flat surroundings (7 x 7, at least half), the contrast term p0 * p1 / (p0 + p1), contrast weights 1 to 4, halved
scales with halved weights and the pooling of the worst 60 % are CAMBI's; histograms of overlapping windows instead of
one per pixel, 8-bit instead of 10-bit levels, contrasts up to 8 levels and three scales instead of five are ours,
because the whole of CAMBI takes longer than drawing a small picture.

Fixed points: a ramp of one level a pixel is 0, also with one level of dither; the same ramp at 5 bits is 0.37. Drawn
pictures have 0.08 to 0.19, posterised to 5 bits 0.33 to 0.51.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

LEVELS = 256
CELL = 16
SCALE_WEIGHTS = (4.0, 2.0, 1.0)
CONTRAST_WEIGHTS = np.minimum(np.arange(1, 9), 4) / 4
POOLED_SHARE = 0.6
MAX_SIDE = 512
_NEVER_ZERO = np.float32(1e-12)

Luma = NDArray[np.uint8]


def banding_index(luma: Luma) -> float:
    """0 (none) to 1 (two levels, evenly mixed, everywhere) for 8-bit luma `[height, width]`; 0 under 32 pixels a side.

    Above 512 pixels a side it looks at every second, fourth, … pixel: averaging would hide the steps.
    """
    while max(luma.shape) > MAX_SIDE:
        luma = luma[::2, ::2]
    total = weights = 0.0
    for weight in SCALE_WEIGHTS:
        if min(luma.shape) < 2 * CELL:
            break
        total += weight * _index_at_one_scale(luma)
        weights += weight
        luma = luma[::2, ::2]
    return total / weights if weights else 0.0


def _index_at_one_scale(luma: Luma) -> float:
    shares = _level_shares(luma, _flat_surroundings(luma))
    worst = np.zeros(shares.shape[:2], dtype=np.float32)
    for contrast, weight in enumerate(CONTRAST_WEIGHTS, start=1):
        here = shares[..., contrast:-contrast]
        beside = np.maximum(shares[..., 2 * contrast :], shares[..., : -2 * contrast])
        visible = here * beside / (here + beside + _NEVER_ZERO)
        worst = np.maximum(worst, np.float32(weight) * visible.max(axis=-1))
    pooled = np.sort(worst, axis=None)[-max(1, int(np.ceil(POOLED_SHARE * worst.size))) :]
    return 4.0 * float(pooled.mean())


def _flat_surroundings(luma: Luma) -> NDArray[np.bool_]:
    """Where at least half of the 7 x 7 pixels around equal their right and lower neighbours."""
    flat = np.zeros(luma.shape, dtype=np.float32)
    corner = luma[:-1, :-1]
    flat[:-1, :-1] = (corner == luma[:-1, 1:]) & (corner == luma[1:, :-1])
    return np.asarray(cv2.boxFilter(flat, -1, (7, 7)) >= 0.5)


def _level_shares(luma: Luma, mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Share of each level among the pixels of windows of 32 x 32 that overlap by half: `[rows, columns, 256]`."""
    rows, columns = luma.shape[0] // CELL, luma.shape[1] // CELL
    inside = np.s_[: rows * CELL, : columns * CELL]
    cell = (np.arange(rows * CELL) // CELL)[:, None] * columns + (np.arange(columns * CELL) // CELL)[None, :]
    keys = (cell * LEVELS + luma[inside])[mask[inside]]
    counts = np.bincount(keys, minlength=rows * columns * LEVELS).reshape(rows, columns, LEVELS).astype(np.float32)
    windows = counts[:-1, :-1] + counts[1:, :-1] + counts[:-1, 1:] + counts[1:, 1:]
    return np.asarray(windows / (4 * CELL * CELL), dtype=np.float32)
