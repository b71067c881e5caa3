"""A small anti-aliased painter: stencils with soft edges, two-colour fills, and relief shading.

Called by the drawing modules of this package (`scenery`, `bird`); nothing else paints. Promises: the same calls give
the same bytes; coordinates are fractions of the picture's side (x to the right, y down), so a drawing looks alike at
every size. Why not a vector library: a picture has to cost a few milliseconds, because training draws tens of
thousands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float32]
"""[n, 2] float32: corners of an outline, as fractions of the picture's side."""

Field = NDArray[np.float32]
"""[height, width] float32: how much of each pixel is covered, 0 to 1."""

Colour = tuple[float, float, float]
"""Red, green, blue; 0 to 255."""

OVERSAMPLING = 3
_SUBPIXEL_BITS = 4


@dataclass(frozen=True)
class Stencil:
    """The pixels that a shape covers: `cover` [h, w] in 0..1, its upper left corner at (`left`, `top`) pixels."""

    cover: Field
    left: int
    top: int


def darker(colour: Colour, factor: float) -> Colour:
    """The colour with its three channels multiplied by `factor` (above 1 is lighter) and kept within 0..255."""
    red, green, blue = (min(255.0, max(0.0, channel * factor)) for channel in colour)
    return (red, green, blue)


def mixed(one: Colour, other: Colour, share: float) -> Colour:
    """`one` moved towards `other` by `share` (0: `one`; 1: `other`)."""
    red, green, blue = (a + (b - a) * share for a, b in zip(one, other, strict=True))
    return (red, green, blue)


class Canvas:
    """A square picture in the making; `pixels` is float32 [size, size, 3], RGB, 0 to 255."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.pixels: NDArray[np.float32] = np.zeros((size, size, 3), np.float32)
        rows, columns = np.mgrid[0:size, 0:size].astype(np.float32) / size
        self._rows: Field = rows
        self._columns: Field = columns

    def gradient(self, top: Colour, bottom: Colour) -> None:
        """Cover everything with a vertical gradient."""
        share = np.linspace(0, 1, self.size, dtype=np.float32)[:, None, None]
        start, end = np.asarray(top, np.float32), np.asarray(bottom, np.float32)
        self.pixels[:] = start + (end - start) * share

    def glow(self, centre: tuple[float, float], radius: float, colour: Colour, strength: float) -> None:
        """Add a soft round light: a Gaussian of the distance from `centre`, `radius` its standard deviation."""
        distance = (self._columns - centre[0]) ** 2 + (self._rows - centre[1]) ** 2
        share = strength * np.exp(-distance / (2 * radius * radius))
        self.pixels += share[..., None] * (np.asarray(colour, np.float32) - self.pixels)

    def stencil(self, outlines: Sequence[Points]) -> Stencil:
        """The union of closed outlines as anti-aliased coverage; parts outside the picture are cut off."""
        corners = np.concatenate(list(outlines)) * self.size
        left, top = (int(v) for v in np.clip(np.floor(corners.min(0)) - 1, 0, self.size))
        right, bottom = (int(v) for v in np.clip(np.ceil(corners.max(0)) + 2, 0, self.size))
        if right <= left or bottom <= top:
            return Stencil(np.zeros((0, 0), np.float32), 0, 0)
        fine = np.zeros(((bottom - top) * OVERSAMPLING, (right - left) * OVERSAMPLING), np.uint8)
        origin = np.asarray([left, top], np.float32)
        for outline in outlines:
            scaled = (outline * self.size - origin) * OVERSAMPLING * (1 << _SUBPIXEL_BITS)
            cv2.fillPoly(fine, [np.round(scaled).astype(np.int32)], 255, cv2.LINE_AA, _SUBPIXEL_BITS)
        cover = cv2.resize(fine, (right - left, bottom - top), interpolation=cv2.INTER_AREA)
        return Stencil(cover.astype(np.float32) / np.float32(255), left, top)

    def paint(self, stencil: Stencil, top: Colour, bottom: Colour | None = None, alpha: float = 1.0) -> None:
        """Fill a stencil with one colour, or with a vertical gradient from `top` to `bottom` over its height."""
        height, width = stencil.cover.shape
        if not height or not width:
            return
        colour = np.asarray(top, np.float32)
        if bottom is not None:
            share = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
            colour = colour + (np.asarray(bottom, np.float32) - colour) * share
        region = self.pixels[stencil.top : stencil.top + height, stencil.left : stencil.left + width]
        region += (stencil.cover * np.float32(alpha))[..., None] * (colour - region)

    def fill(self, outline: Points, top: Colour, bottom: Colour | None = None, alpha: float = 1.0) -> None:
        """`paint` for one outline that needs no stencil of its own."""
        self.paint(self.stencil([outline]), top, bottom, alpha)

    def relief(self, stencil: Stencil, softness: float, strength: float) -> None:
        """Shade a shape as if it were round and lit from above and in front.

        The slope of the blurred coverage stands for the surface's normal: `softness` is the blur's standard deviation
        as a fraction of the picture's side, `strength` the largest relative change of brightness.
        """
        if not stencil.cover.size:
            return
        cover = stencil.cover
        sigma = softness * self.size
        pad = int(2 * sigma) + 1
        soft = cv2.GaussianBlur(cv2.copyMakeBorder(cover, pad, pad, pad, pad, cv2.BORDER_CONSTANT), (0, 0), sigma)
        slope = cv2.Sobel(soft, cv2.CV_32F, 0, 1, ksize=3) * sigma / 3
        inner = soft[pad:-pad, pad:-pad]
        change = cover * np.float32(strength) * (slope[pad:-pad, pad:-pad] + 0.35 * (inner - 0.75))
        height, width = cover.shape
        region = self.pixels[stencil.top : stencil.top + height, stencil.left : stencil.left + width]
        light = np.maximum(change, 0)[..., None]
        region += light * (255 - region) * 0.55
        region *= 1 + np.minimum(change, 0)[..., None]

    def finished(self) -> NDArray[np.uint8]:
        """The picture as uint8 [size, size, 3] RGB."""
        return np.clip(np.round(self.pixels), 0, 255).astype(np.uint8)


def clipped(stencil: Stencil, by: Stencil) -> Stencil:
    """The part of `stencil` that `by` covers as well."""
    height, width = stencil.cover.shape
    whole = np.zeros_like(stencil.cover)
    top, left = max(stencil.top, by.top), max(stencil.left, by.left)
    bottom = min(stencil.top + height, by.top + by.cover.shape[0])
    right = min(stencil.left + width, by.left + by.cover.shape[1])
    if bottom > top and right > left:
        mine = np.s_[top - stencil.top : bottom - stencil.top, left - stencil.left : right - stencil.left]
        its = np.s_[top - by.top : bottom - by.top, left - by.left : right - by.left]
        whole[mine] = stencil.cover[mine] * by.cover[its]
    return Stencil(whole, stencil.left, stencil.top)
