"""Flashing light in moving pictures, as WCAG 2.3.1 defines it, followed frame by frame.

Called by `clips`. Light that flashes more than three times within a second over a quarter of what is seen can start a
seizure (https://www.w3.org/TR/WCAG22/#three-flashes-or-below-threshold). Its definitions, which are those of ISO
9241-391 and of broadcasters:

    general flash   a pair of opposing changes of relative luminance by 10 % or more of the maximum, the darker of both
                    below 0.80
    red flash       a pair of opposing changes where either end is a saturated red, R / (R + G + B) at least 0.8, and
                    (R - G - B) * 320 (negative: 0) differs by more than 20; linear light, 0 to 1

The picture is looked at in 32 x 32 places, each the mean of its linear light: a pattern finer than that is no flash
(WCAG exempts it, and a denoiser's grain is one). In each place a change counts when the light has gone back by as much
as the definition says from the last extreme, however many frames that takes: a pulse that rises over three frames is as
bad as one that jumps. Places are added up whether or not they flash in step, which is stricter than the definition and
needs no guess about what belongs together. A clip that repeats is followed round its seam (`begin_again`): a light
frame and a dark one are a single change, and a strobe when they go on for ever.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Self

import cv2
import numpy as np
from numpy.typing import NDArray

PLACES = 32
"""On either side of the picture."""
LUMINANCE = np.array([0.2126, 0.7152, 0.0722], np.float32)
LUMINANCE_CHANGE, DARKER_BELOW = 0.10, 0.80
RED_CHANGE, SATURATED_RED = 20 / 320, 0.8
DARK = 1e-6
"""Black has no hue."""
CHANGES_ALLOWED = 6
"""Within any second: three flashes of two changes each. With the seventh the fourth flash has begun."""

Light = NDArray[np.float32]
Where = NDArray[np.bool_]

_values = np.arange(256, dtype=np.float32) / 255
LINEAR = np.where(_values <= 0.04045, _values / 12.92, ((_values + 0.055) / 1.055) ** 2.4).astype(np.float32)
"""sRGB (IEC 61966-2-1) to linear light, for each 8-bit value."""


def light_of(frame: NDArray[np.uint8]) -> Light:
    """Linear light in 32 x 32 places, float32 `[32, 32, 3]`, 0 to 1, of uint8 `[height, width, 3]` RGB."""
    linear = cv2.LUT(frame, LINEAR)
    return np.asarray(cv2.resize(linear, (PLACES, PLACES), interpolation=cv2.INTER_AREA), np.float32)


@dataclass(slots=True)
class _Changes:
    """Opposing changes of one quantity in every place."""

    least: float
    """What a change is at least."""
    lowest: Light
    highest: Light
    """Both since the last change, or since the clip began: the first change may go either way."""
    rises: NDArray[np.int8]
    """1 where the last change was a rise, -1 where it was a fall, 0 before the first."""

    @classmethod
    def since(cls, now: Light, least: float) -> Self:
        """None yet."""
        return cls(least, now, now, np.zeros(now.shape, np.int8))

    def follow(self, now: Light) -> tuple[Where, Where]:
        """Where a fall against the last rise is complete with this frame, and where a rise against the last fall."""
        fallen = (now - self.highest <= -self.least) & (self.rises >= 0)
        risen = (now - self.lowest >= self.least) & (self.rises <= 0)
        changed = fallen | risen
        self.lowest = np.where(changed, now, np.minimum(self.lowest, now))
        self.highest = np.where(changed, now, np.maximum(self.highest, now))
        self.rises = np.where(risen, 1, np.where(fallen, -1, self.rises)).astype(np.int8)
        return fallen, risen


class FlashMeter:
    """Follows the frames of one clip in their order."""

    def __init__(self, frames_per_second: float) -> None:
        self._second = max(1, round(frames_per_second))
        self._general: _Changes | None = None
        self._red: _Changes | None = None
        self._saturated: Where = np.zeros((PLACES, PLACES), np.bool_)
        """Where there was a saturated red since the last change."""
        self._recent: deque[tuple[Where, Where]] = deque(maxlen=self._second)
        self._first: list[Light] = []
        """The frames of the first second."""
        self._worst = 0.0

    @property
    def flashing_share(self) -> float:
        """Share of the picture, 0 to 1, that flashed more than three times within the second in which most did."""
        return self._worst

    def follow(self, light: Light) -> None:
        """Takes the next frame, as `light_of` sees it."""
        if len(self._first) < self._second:
            self._first.append(light)
        self._follow(light)

    def begin_again(self) -> None:
        """Takes the first second once more, behind the last frame; of a shorter clip, all of it over and over."""
        for light in islice(cycle(self._first), self._second):
            self._follow(light)

    def _follow(self, light: Light) -> None:
        luminance = light @ LUMINANCE
        redness = np.maximum(light[..., 0] - light[..., 1] - light[..., 2], 0)
        self._recent.append((self._general_changes(luminance), self._red_changes(light, redness)))
        general, red = (np.sum(each, axis=0) for each in zip(*self._recent, strict=True))
        share = float(np.mean((general > CHANGES_ALLOWED) | (red > CHANGES_ALLOWED)))
        self._worst = max(self._worst, share)

    def _general_changes(self, luminance: Light) -> Where:
        if self._general is None:
            self._general = _Changes.since(luminance, LUMINANCE_CHANGE)
            return np.zeros(luminance.shape, np.bool_)
        lowest = self._general.lowest
        fallen, risen = self._general.follow(luminance)
        return np.asarray((fallen & (luminance < DARKER_BELOW)) | (risen & (lowest < DARKER_BELOW)))

    def _red_changes(self, light: Light, redness: Light) -> Where:
        now = light[..., 0] >= SATURATED_RED * np.maximum(light.sum(axis=-1), DARK)
        saturated: Where = np.asarray(self._saturated | now)
        if self._red is None:
            self._red = _Changes.since(redness, RED_CHANGE)
            changed: Where = np.zeros(redness.shape, np.bool_)
        else:
            changed = np.logical_or(*self._red.follow(redness))
        self._saturated = np.where(changed, now, saturated)
        return np.asarray(changed & saturated)
