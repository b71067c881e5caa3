"""Near-duplicates: frames that a person would take for the same picture.

Called by `judging`. The fingerprint is the perceptual hash of N. Krawetz ("Looks Like It", 2011,
https://www.hackerfactor.com/blog/index.php?/archives/432-Looks-Like-It.html): which of a small grey picture's lowest
frequencies exceed their median. It is bit for bit what the package ImageHash computes (`phash(image, hash_size=16)`),
without SciPy and PyWavelets, which that brings into an image (155 MB). 256 bits instead of the usual 64: pictures of
one prompt resemble each other, and with 64 bits half of them lie as close (4 of 64) as a recompressed copy. Measured
on drawn pictures: a copy (JPEG 50, noise, brightness, half size) differs by at most 12 of 256 bits, another picture of
the same prompt by at least 18, another prompt's by 116 (median).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bowerbird.curation.view import View

HASH_SIDE = 16
GREY_SIDE = 4 * HASH_SIDE
MAX_DISTANCE = 15
ROUNDING = 6
"""Decimals that count: in a flat or symmetric frame most frequencies are 0, and must not be told apart by noise."""

# The lowest 16 basis vectors of the DCT-II over 64 samples, float64 [16, 64]: cos(pi / 64 * (j + 1/2) * k).
BASIS = np.cos(np.pi / GREY_SIDE * np.outer(np.arange(HASH_SIDE), np.arange(GREY_SIDE) + 0.5))

Fingerprint = NDArray[np.bool_]


def fingerprint(view: View) -> Fingerprint:
    """The perceptual hash of a frame, bool `[256]`, row by row from the lowest frequency."""
    grey = view.image.convert("L").resize((GREY_SIDE, GREY_SIDE), Image.Resampling.LANCZOS)
    frequencies = np.round(BASIS @ np.asarray(grey, dtype=np.float64) @ BASIS.T, ROUNDING)
    return np.asarray(frequencies > np.median(frequencies), dtype=np.bool_).ravel()


def nearly_equal(one: Fingerprint, other: Fingerprint) -> bool:
    """True when at most 15 of 256 bits differ."""
    return int(np.count_nonzero(one != other)) <= MAX_DISTANCE
