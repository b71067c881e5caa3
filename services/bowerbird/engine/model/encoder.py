"""Pixels as latents, and what of a picture is drawn anew.

A drawing may begin with a picture: its latents, noised as they would be before the call it begins with
(`SamplerTable.noised`; Meng et al., "SDEdit", 2022). With a mask, what is outside of it is put back after every step,
noised for the next one, so that what is drawn inside fits it (Lugmayr et al., "RePaint", 2022, without its returns; as
diffusers' `StableDiffusionInpaintPipeline` does for denoisers of as many channels as the latents have).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bowerbird.engine.backend import Floats, Session
from bowerbird.errors import DrawingFailed


@dataclass(frozen=True, slots=True, eq=False)
class FirstPicture:
    """What the frames of an order begin with: uint8 `[height, width, 3]`, drawn over from denoiser call `call` on.

    `mask` is bool `[height, width]`, True where it is drawn anew; None where it may change everywhere.
    """

    pixels: NDArray[np.uint8] = field(repr=False)
    mask: NDArray[np.bool_] | None = field(repr=False)
    call: int

    def outside(self, drawn: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """`drawn` inside of the mask, the picture itself outside: what was to stay does, to the pixel."""
        return drawn if self.mask is None else np.where(self.mask[..., None], drawn, self.pixels)


@dataclass(frozen=True, slots=True, eq=False)
class FirstLatents:
    """What a frame begins with: float32 `[channels, height, width]`; `mask` is 1 where it is drawn anew, else 0.

    `mask` is `[1, height, width]`, None where it may change everywhere. A latent is drawn anew when any of its pixels
    is. Of a clip they are `[1, channels, height, width]` and `[frames, 1, 1, 1]`.
    """

    latents: Floats
    mask: Floats | None

    def outside(self, drawn: Floats, original: Floats) -> Floats:
        """`drawn` inside of the mask, `original` outside."""
        if self.mask is None:
            return drawn
        mixed: Floats = self.mask * drawn + (1 - self.mask) * original
        return mixed

    def of_clip(self, frames: int) -> FirstLatents:
        """The same for a clip of so many frames: all begin with them, and the first one stays what it is."""
        pinned = np.ones((frames, 1, 1, 1), np.float32)
        pinned[0] = 0
        return FirstLatents(self.latents[None], pinned)


class Encoder:
    """The autoencoder's encoder; may be called from several threads at once."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def first(self, picture: FirstPicture) -> FirstLatents:
        """The picture as the denoiser sees it; raises DrawingFailed when that is not finite."""
        latents = self.latents(as_read(picture.pixels))
        return FirstLatents(latents, None if picture.mask is None else _coarse(picture.mask, latents.shape[1:]))

    def latents(self, picture: Floats) -> Floats:
        """float32 `[channels, height / downscale, width / downscale]` of float32 `[3, height, width]`, -1..1.

        Raises DrawingFailed when they are not finite.
        """
        latents: Floats = self._session.run({"pictures": picture[None]})["latents"][0]
        if not np.isfinite(latents).all():
            raise DrawingFailed("The picture that was to be begun with became NaN or infinite when it was encoded.")
        return latents


def as_read(pixels: NDArray[np.uint8]) -> Floats:
    """float32 `[3, height, width]` in -1..1 of uint8 `[height, width, 3]`: as every encoder reads pictures."""
    picture: Floats = pixels.astype(np.float32).transpose(2, 0, 1) / 127.5 - 1
    return picture


def _coarse(mask: NDArray[np.bool_], shape: tuple[int, ...]) -> Floats:
    height, width = shape
    blocks = mask.reshape(height, mask.shape[0] // height, width, mask.shape[1] // width)
    return np.asarray(blocks.any(axis=(1, 3)), np.float32)[None]
