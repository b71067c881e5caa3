"""Draws a scene: `draw(scene, size)` gives uint8 pixels; `draw(scene, size, moment)` a frame of a clip.

Called by the data sets of this package, by evaluation, and by whoever wants a drawn bird (tests, `clips`). Promises:
deterministic, about 15 ms a picture at 256 × 256 on one core; a scene facing left is the mirror of the same scene
facing right; at rest a frame is the still picture.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bowerbird.training.bird import Bird, draw_bird, posed, tilt_of
from bowerbird.training.canvas import Canvas
from bowerbird.training.moment import AT_REST, Moment
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


_LONGEST_BEND = 0.08
"""How far a crouching bird's body comes down at most, in units of the bird's frame."""
_AT_BIRD = 0.65
"""Share of the sway of a branch's tip that is felt where the bird sits."""


def draw(scene: Scene, size: int = SIZE, moment: Moment = AT_REST) -> Picture:
    """The picture of `scene` at `moment`, [size, size, 3] uint8 RGB."""
    canvas = Canvas(size)
    scenery = Scenery(scene, moment)
    scenery.draw_behind(canvas)
    bird, feet, seat = _placed(scene, moment)
    sway = moment.sway * _AT_BIRD
    if scene.pose == "perched":
        scenery.branch(canvas, seat)
    elif scene.pose == "nesting":
        scenery.branch(canvas, _NEST_BRANCH + scene.shift[1])
    draw_bird(canvas, bird, feet)
    if scene.pose == "nesting":
        scenery.nest(canvas, bird.body.x - scene.facing * 0.02, _NEST_RIM + scene.shift[1] + sway, _NEST_WIDTH)
    scenery.draw_before(canvas)
    return canvas.finished()


def _placed(scene: Scene, moment: Moment) -> tuple[Bird, float, float]:
    """The scene's bird where pose and moment put it, the height of its feet, and that of what it sits on.

    Heights in fractions of the picture's side; what a bird sits on is where a still's feet are.
    """
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
    seat = feet
    sways = moment.sway * _AT_BIRD if scene.pose in ("perched", "nesting") else 0.0
    x, y = x + scene.facing * moment.move[0], y + moment.move[1] + sways
    feet += moment.move[1] + sways - legs * unit * 0.6 * moment.flight
    y += min(legs, _LONGEST_BEND) * unit * moment.crouch
    return posed(scene, x, y, unit * moment.size, moment), feet, seat
