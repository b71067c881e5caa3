"""Outlines as plain arrays of points: ellipses, smooth closed curves, ribbons, hulls; and frames that place them.

Called by `bird` and `scenery`. Pure functions of their arguments; every outline is float32 [n, 2].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from bowerbird.training.canvas import Points

_CORNERS_OF_ELLIPSE = 36
_POINTS_PER_SPAN = 6


def ellipse(x: float, y: float, a: float, b: float, angle: float = 0.0) -> Points:
    """Outline of an ellipse around (x, y) with half axes `a`, `b`, turned by `angle` degrees (clockwise on screen)."""
    turns = np.linspace(0, 2 * np.pi, _CORNERS_OF_ELLIPSE, endpoint=False)
    flat = np.stack([a * np.cos(turns), b * np.sin(turns)], 1)
    return _rotated(flat, angle) + np.asarray([x, y], np.float32)


def curve(points: Sequence[tuple[float, float]] | Points, closed: bool = True) -> Points:
    """A Catmull-Rom curve through `points`: closed, or open with its ends kept."""
    knots = np.asarray(points, np.float32)
    if closed:
        padded = np.concatenate([knots[-1:], knots, knots[:2]])
    else:
        padded = np.concatenate([knots[:1] * 2 - knots[1:2], knots, knots[-1:] * 2 - knots[-2:-1]])
    t = np.linspace(0, 1, _POINTS_PER_SPAN, endpoint=False, dtype=np.float32)[None, :, None]
    p0, p1, p2, p3 = (padded[i : len(padded) - 3 + i, None] for i in range(4))
    spans = 0.5 * (2 * p1 + (p2 - p0) * t + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2 + (3 * (p1 - p2) + p3 - p0) * t**3)
    smooth = spans.reshape(-1, 2)
    return smooth if closed else np.concatenate([smooth, knots[-1:]])


def ribbon(points: Sequence[tuple[float, float]] | Points, start: float, end: float) -> Points:
    """Outline of a smooth stroke through `points`, `start` wide at its beginning and `end` wide at its end."""
    middle = curve(points, closed=False)
    along = np.gradient(middle, axis=0)
    along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-6)
    across = np.stack([-along[:, 1], along[:, 0]], 1)
    half = np.linspace(start / 2, end / 2, len(middle), dtype=np.float32)[:, None]
    return np.concatenate([middle + across * half, (middle - across * half)[::-1]]).astype(np.float32)


def hull(outlines: Sequence[Points]) -> Points:
    """The convex outline around several outlines (a neck between a body and a head)."""
    around = cv2.convexHull(np.concatenate(list(outlines)).astype(np.float32))
    return np.asarray(around, np.float32).reshape(-1, 2)


def _rotated(points: Points | NDArray[np.float64], degrees: float) -> Points:
    angle = np.deg2rad(degrees)
    turn = np.asarray([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]], np.float32)
    return (points @ turn).astype(np.float32)


@dataclass(frozen=True)
class Frame:
    """Where a part's own coordinates lie in the picture: turned by `angle` degrees, scaled, mirrored, moved.

    `scale` is the length of one unit as a fraction of the picture's side; `facing` is 1 (right) or -1 (left).
    """

    x: float
    y: float
    scale: float
    angle: float = 0.0
    facing: int = 1

    def place(self, points: Sequence[tuple[float, float]] | Points) -> Points:
        """Points of the part as points of the picture."""
        turned = _rotated(np.asarray(points, np.float32), self.angle) * np.float32(self.scale)
        turned[:, 0] *= self.facing
        return turned + np.asarray([self.x, self.y], np.float32)

    def at(self, x: float, y: float, angle: float = 0.0) -> Frame:
        """A frame around the point (x, y) of this one, upright but for `angle`."""
        place = self.place([(x, y)])[0]
        return Frame(float(place[0]), float(place[1]), self.scale, angle, self.facing)
