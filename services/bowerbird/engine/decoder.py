"""Latents as pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bowerbird.engine.backend import Floats, Session
from bowerbird.engine.bundle import LatentFacts


class Decoder:
    """The autoencoder's decoder: one frame at a time, so that the first is on its way while the next is decoded."""

    def __init__(self, session: Session, facts: LatentFacts) -> None:
        self._session = session
        self._facts = facts

    def frame(self, latents: Floats) -> NDArray[np.uint8]:
        """uint8 `[height, width, 3]` of float32 `[channels, height / downscale, width / downscale]`.

        The graph answers -1..1; rounded half to even, as diffusers' `VaeImageProcessor` does.
        """
        unscaled = latents / np.float32(self._facts.scaling_factor) + np.float32(self._facts.shift_factor)
        pictures = self._session.run({"latents": unscaled[None]})["pictures"]
        pixels = np.clip(pictures[0] * 0.5 + 0.5, 0.0, 1.0) * 255.0
        return np.ascontiguousarray(np.rint(pixels).astype(np.uint8).transpose(1, 2, 0))
