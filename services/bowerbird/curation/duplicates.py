"""Near-duplicates: frames that a person would take for the same picture.

Called by `judging`. The fingerprint is ImageHash's perceptual hash with 256 bits instead of the usual 64: pictures of
one prompt resemble each other, and with 64 bits half of them lie as close (4 of 64) as a recompressed copy. Measured
on drawn pictures: a copy (JPEG 50, noise, brightness, half size) differs by at most 12 of 256 bits, another picture of
the same prompt by at least 18, another prompt's by 116 (median).
"""

from __future__ import annotations

import imagehash
import numpy as np
from numpy.typing import NDArray

from bowerbird.curation.view import View

HASH_SIDE = 16
MAX_DISTANCE = 15

Fingerprint = NDArray[np.bool_]


def fingerprint(view: View) -> Fingerprint:
    """The perceptual hash of a frame, bool `[256]`."""
    return np.asarray(imagehash.phash(view.image, hash_size=HASH_SIDE).hash, dtype=np.bool_).ravel()


def nearly_equal(one: Fingerprint, other: Fingerprint) -> bool:
    """True when at most 15 of 256 bits differ."""
    return int(np.count_nonzero(one != other)) <= MAX_DISTANCE
