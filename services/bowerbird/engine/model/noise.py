"""Noise: the only source of chance in a picture.

Counter-based, so that it depends on what is drawn and not on when, where or beside whom. The layout is part of the
promise "same seed, same picture" and is never changed without a new bundle format:

    key[0]   the picture's seed, `contracts.seed_of(request seed, frame index)`, 0 .. 2**63 - 1
    key[1]   the call: 0 for the initial latents, k + 1 for the noise that denoiser call k (0-based) adds; from
             ORDER_CALL on, by which a clip's noise is put into another order (`clip.py`); PICTURE_CALL for what
             is laid on the picture that a clip is told (`image_conditioning.py`)
    counter  starts at 0

The normals are NumPy's (`Generator.standard_normal`, float32, ziggurat), filled in C order over `shape`. NumPy promises
Philox' bits for ever and the normals' only by habit (NEP 19): a test pins them.
Philox: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
"""

from __future__ import annotations

import numpy as np

from bowerbird.engine.backend import Floats

INITIAL_CALL = 0
ORDER_CALL = 2**32
PICTURE_CALL = 2**33


def noise(seed: int, call: int, shape: tuple[int, ...]) -> Floats:
    """Standard normal float32 of `shape` for one call of one picture."""
    key = np.array([seed, call], np.uint64)
    return np.random.Generator(np.random.Philox(key=key)).standard_normal(shape, np.float32)
