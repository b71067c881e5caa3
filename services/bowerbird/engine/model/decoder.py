"""Latents as pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bowerbird.engine.backend import Floats, Session
from bowerbird.errors import DrawingFailed


class Decoder:
    """The autoencoder's decoder: one frame at a time, so that the first is on its way while the next is decoded."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def frame(self, latents: Floats, index: int = 0) -> NDArray[np.uint8]:
        """uint8 `[height, width, 3]` of float32 `[channels, height / downscale, width / downscale]`.

        Raises DrawingFailed, naming the frame by `index`, when it is not finite: as bytes it would be a dark one.
        """
        picture = self._session.run({"latents": latents[None]})["pictures"][0]
        if not np.isfinite(picture).all():
            raise DrawingFailed(f"Frame {index} became NaN or infinite when it was decoded; another seed may succeed.")
        return as_pixels(picture)


def as_pixels(picture: Floats) -> NDArray[np.uint8]:
    """uint8 `[height, width, 3]` of float32 `[3, height, width]` in -1..1.

    Rounded half to even, as diffusers' `VaeImageProcessor` does.
    """
    pixels = np.clip(picture * 0.5 + 0.5, 0.0, 1.0) * 255.0
    return np.ascontiguousarray(np.rint(pixels).astype(np.uint8).transpose(1, 2, 0))
