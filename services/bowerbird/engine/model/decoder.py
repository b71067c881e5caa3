"""Latents as pixels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bowerbird.engine.backend import Floats, Session
from bowerbird.engine.bundle import PartFacts
from bowerbird.errors import DrawingFailed

CLIP_DIMENSIONS = 5
"""Of latents `[batch, frames, channels, height, width]`."""


class Decoder:
    """The autoencoder's decoder: one frame at a time, so that the first is on its way while the next is decoded."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def frame(self, latents: Floats, index: int = 0) -> NDArray[np.uint8]:
        """uint8 `[height, width, 3]` of float32 `[channels, height / downscale, width / downscale]`.

        Raises DrawingFailed, naming the frame by `index`, when it is not finite: as bytes it would be a dark one.
        """
        return _finite(self._session.run({"latents": latents[None]})["pictures"][0], index)

    def frames(self, latents: Sequence[Floats], first: int = 0) -> list[NDArray[np.uint8]]:
        """Several, of which the first is frame `first`; of as many as `MotionFacts.decoded_together`."""
        return [self.frame(each, first + place) for place, each in enumerate(latents)]


class TemporalDecoder(Decoder):
    """A decoder that reads several frames of a clip at a time, always as many: how one looks depends on the others."""

    def frames(self, latents: Sequence[Floats], first: int = 0) -> list[NDArray[np.uint8]]:
        """See `Decoder.frames`."""
        pictures = self._session.run({"latents": np.stack(latents)[None]})["pictures"][0]
        return [_finite(each, first + place) for place, each in enumerate(pictures)]


def decoder_of(part: PartFacts) -> type[Decoder]:
    """What runs a decoder's graph: one that reads frames has a dimension for them."""
    return TemporalDecoder if len(part.inputs[0].shape) == CLIP_DIMENSIONS else Decoder


def _finite(picture: Floats, index: int) -> NDArray[np.uint8]:
    if not np.isfinite(picture).all():
        raise DrawingFailed(f"Frame {index} became NaN or infinite when it was decoded; another seed may succeed.")
    return as_pixels(picture)


def as_pixels(picture: Floats) -> NDArray[np.uint8]:
    """uint8 `[height, width, 3]` of float32 `[3, height, width]` in -1..1.

    Rounded half to even, as diffusers' `VaeImageProcessor` does.
    """
    pixels = np.clip(picture * 0.5 + 0.5, 0.0, 1.0) * 255.0
    return np.ascontiguousarray(np.rint(pixels).astype(np.uint8).transpose(1, 2, 0))
