"""Draws a scene: `draw(scene, size)` gives uint8 pixels.

Called by the data sets of this package, by evaluation, and by whoever wants a drawn bird (tests, the animation's
clips). Promises: deterministic, about 15 ms a picture at 256 × 256 on one core; a scene facing left is the mirror of
the same scene facing right.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bowerbird.training.bird import Bird, draw_bird, posed, tilt_of
from bowerbird.training.canvas import Canvas
from bowerbird.training.scene import Scene
from bowerbird.training.scenery import Scenery
from bowerbird.training.species import BY_NAME

Picture = NDArray[np.uint8]
"""[height, width, 3] uint8, RGB."""

SIZE = 256
_CENTRE = {"perched": (0.50, 0.44), "nesting": (0.50, 0.47), "flying": (0.51, 0.60), "standing": (0.49, 0.53)}
_UNIT = {"perched": 0.86, "nesting": 0.86, "flying": 0.78, "standing": 0.84}
_GROUND = 0.86
_NEST_BRANCH, _NEST_RIM, _NEST_WIDTH = 0.74, 0.545, 0.50


def draw(scene: Scene, size: int = SIZE) -> Picture:
    """The picture of `scene`, [size, size, 3] uint8 RGB."""
    canvas = Canvas(size)
    scenery = Scenery(scene)
    scenery.draw_behind(canvas)
    bird, feet = _placed(scene)
    if scene.pose == "perched":
        scenery.branch(canvas, feet)
    elif scene.pose == "nesting":
        scenery.branch(canvas, _NEST_BRANCH + scene.shift[1])
    draw_bird(canvas, bird, feet)
    if scene.pose == "nesting":
        scenery.nest(canvas, bird.body.x - scene.facing * 0.02, _NEST_RIM + scene.shift[1], _NEST_WIDTH)
    scenery.draw_before(canvas)
    return canvas.finished()


def _placed(scene: Scene) -> tuple[Bird, float]:
    """The scene's bird where its pose puts it, and the height of its feet (fractions of the picture's side)."""
    species = BY_NAME[scene.species]
    x, y = _CENTRE[scene.pose]
    unit = _UNIT[scene.pose] * scene.scale
    if species.neck:
        unit, y = unit * 0.92, y - (0.03 if scene.pose != "standing" else 0.06)
    x = 0.5 + scene.facing * (x - 0.5 + scene.shift[0])
    y += scene.shift[1]
    length, depth = species.body
    below = depth * 0.9 + (length - depth) * abs(tilt_of(species, scene.pose)) / 90
    legs = max(species.legs, 0.11) if scene.pose == "standing" else min(species.legs, 0.075)
    feet = y + (below + legs) * unit
    if scene.pose == "standing":
        lift = _GROUND + scene.shift[1] - feet
        y, feet = y + lift, feet + lift
    return posed(scene, x, y, unit), feet
