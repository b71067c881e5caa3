"""One frame as the measures see it: pixels, and what several of them need, computed once."""

from __future__ import annotations

from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

LONG_SIDE = 512


class View:
    """A frame, uint8 `[height, width, 3]` RGB, with its luma."""

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        self.pixels = pixels
        self.embeddings: dict[object, NDArray[np.float32]] = {}
        """Where the frame lies in the space of an encoder, by the encoder: made once, whoever asks for it."""

    @cached_property
    def luma(self) -> NDArray[np.uint8]:
        """Rec. 601 luma, uint8 `[height, width]`."""
        return np.asarray(cv2.cvtColor(self.pixels, cv2.COLOR_RGB2GRAY), dtype=np.uint8)

    @cached_property
    def small_luma(self) -> NDArray[np.uint8]:
        """Luma with a long side of at most 512 pixels, averaged down.

        A smaller frame is not enlarged: enlarging invents no detail, so every 256-pixel frame would read as blurred
        (measured: median sharpness 0.27 falls to 0.025).
        """
        height, width = self.luma.shape
        scale = LONG_SIDE / max(height, width)
        if scale >= 1:
            return self.luma
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        return np.asarray(cv2.resize(self.luma, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)

    @cached_property
    def image(self) -> Image.Image:
        """The frame for libraries that take Pillow's images; shares the memory."""
        return Image.fromarray(self.pixels)
