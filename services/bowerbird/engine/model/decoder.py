"""Latents as pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bowerbird.engine.backend import Floats, Session


class Decoder:
    """The autoencoder's decoder: one frame at a time, so that the first is on its way while the next is decoded."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def frame(self, latents: Floats) -> NDArray[np.uint8]:
        """uint8 `[height, width, 3]` of float32 `[channels, height / downscale, width / downscale]`."""
        return as_pixels(self._session.run({"latents": latents[None]})["pictures"][0])


def as_pixels(picture: Floats) -> NDArray[np.uint8]:
    """uint8 `[height, width, 3]` of float32 `[3, height, width]` in -1..1.

    Rounded half to even, as diffusers' `VaeImageProcessor` does.
    """
    pixels = np.clip(picture * 0.5 + 0.5, 0.0, 1.0) * 255.0
    return np.ascontiguousarray(np.rint(pixels).astype(np.uint8).transpose(1, 2, 0))
