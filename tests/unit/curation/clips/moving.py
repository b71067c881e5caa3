"""Clips that tests make: a disc that crosses a landscape of soft colours and fine grain."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Clip = NDArray[np.uint8]


def crossing(frames: int = 24, side: int = 96, speed: float = 1.5, grain: float = 6.0) -> Clip:
    """uint8 `[frames, side, side, 3]`: a red disc of a fifth of the side goes right by `speed` pixels a frame."""
    y, x = np.mgrid[0:side, 0:side].astype(np.float32)
    hills = np.stack([90 + 50 * np.sin(x / 19), 130 + 40 * np.cos((x + y) / 27), 160 - 60 * y / side], axis=-1)
    hills += np.random.default_rng(5).normal(0, grain, hills.shape)
    clip = np.empty((frames, side, side, 3), np.uint8)
    for number in range(frames):
        away = np.hypot(x - side / 4 - speed * number, y - side / 2)
        disc = np.clip(side / 10 - away, 0, 1)[..., None]
        clip[number] = np.clip(hills * (1 - disc) + disc * (200, 40, 30), 0, 255)
    return clip


def psnr(one: Clip, other: Clip) -> float:
    """Of all frames together, in decibels."""
    error = float(np.mean((one.astype(np.float64) - other.astype(np.float64)) ** 2))
    return 10 * float(np.log10(255**2 / max(error, 1e-9)))
