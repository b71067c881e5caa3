"""Draws what is around the bird: sky with sun or moon, hills, trees, ground by season, branch, nest, falling things.

Called by `drawing.draw`, in two halves: `draw_behind` before the bird, `draw_before` after it. Each season has one
layout with small jitter, made of few large smooth shapes: a small model has to learn it, and an autoencoder to keep
it. In a clip the branch sways, and what falls goes down in lanes beside the bird: each piece comes to where the one
below it was, so that the circle closes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bowerbird.training.canvas import Canvas, Colour, darker, mixed
from bowerbird.training.moment import AT_REST, Moment
from bowerbird.training.scene import Scene
from bowerbird.training.shapes import curve, ellipse, ribbon


@dataclass(frozen=True)
class SeasonLook:
    """Colours of a season: sky by day and ground (top, bottom), hills (far, near), tree crowns, what dresses twigs."""

    sky: tuple[Colour, Colour]
    hills: tuple[Colour, Colour]
    ground: tuple[Colour, Colour]
    crown: Colour
    dress: Colour
    falling: int


@dataclass(frozen=True)
class LightLook:
    """A light: the sky's colours and how much they replace the season's, and what multiplies the land's colours."""

    sky: tuple[Colour, Colour]
    share: float
    land: Colour


SEASON_LOOKS: dict[str, SeasonLook] = {
    "spring": SeasonLook(
        ((134, 200, 244), (226, 242, 250)),
        ((168, 206, 190), (150, 204, 130)),
        ((150, 212, 104), (112, 184, 84)),
        (248, 178, 204),
        (250, 186, 210),
        0,
    ),
    "summer": SeasonLook(
        ((70, 158, 238), (190, 228, 252)),
        ((112, 168, 160), (76, 152, 84)),
        ((88, 172, 70), (56, 136, 58)),
        (52, 134, 66),
        (74, 160, 70),
        0,
    ),
    "autumn": SeasonLook(
        ((150, 192, 226), (248, 232, 204)),
        ((196, 160, 136), (212, 144, 74)),
        ((220, 158, 72), (184, 116, 50)),
        (226, 104, 42),
        (230, 112, 40),
        5,
    ),
    "winter": SeasonLook(
        ((166, 192, 220), (226, 236, 246)),
        ((176, 194, 214), (204, 218, 234)),
        ((226, 235, 245), (190, 208, 230)),
        (70, 112, 118),
        (246, 249, 253),
        9,
    ),
}
LIGHT_LOOKS: dict[str, LightLook] = {
    "day": LightLook(((0, 0, 0), (0, 0, 0)), 0.0, (1.0, 1.0, 1.0)),
    "sunset": LightLook(((116, 116, 184), (255, 186, 120)), 0.92, (1.0, 0.86, 0.76)),
    "dusk": LightLook(((44, 54, 110), (150, 140, 192)), 0.94, (0.56, 0.60, 0.80)),
}
HORIZON = {"perched": 0.80, "nesting": 0.80, "flying": 0.84, "standing": 0.68}
BARK: Colour = (112, 78, 58)
STRAW: Colour = (196, 148, 88)
LANES = ((0.055, 0.10), (0.17, 0.42), (0.84, 0.27), (0.945, 0.58))
"""Where snow and leaves fall in a clip: a lane's middle, and how far its pieces are ahead of the first lane's."""
LANE_STEP = 0.56
"""From a piece to the next one below it; two are on their way, from above the picture to below it."""


class Scenery:
    """The scenery of one scene; holds its palette and the jitter that `scene.layout` seeds."""

    def __init__(self, scene: Scene, moment: Moment = AT_REST) -> None:
        self.scene = scene
        self.moment = moment
        self.look = SEASON_LOOKS[scene.season]
        self.light = LIGHT_LOOKS[scene.light]
        self.horizon = HORIZON[scene.pose]
        self._rng = np.random.default_rng(scene.layout)
        self._mirror = scene.facing < 0

    def draw_behind(self, canvas: Canvas) -> None:
        """Sky, hills, trees and ground."""
        self._sky(canvas)
        self._land(canvas)

    def draw_before(self, canvas: Canvas) -> None:
        """What falls from the sky, in front of everything."""
        if self.moment.fall is not None:
            self._falling(canvas, self.moment.fall)
            return
        spots = (
            (0.10, 0.16),
            (0.87, 0.44),
            (0.20, 0.58),
            (0.91, 0.13),
            (0.06, 0.40),
            (0.72, 0.07),
            (0.36, 0.09),
            (0.94, 0.66),
            (0.12, 0.76),
        )
        for index, spot in enumerate(spots[: self.look.falling]):
            x, y = self._x(spot[0] + self._jitter(0.012)), spot[1] + self._jitter(0.012)
            self._piece(canvas, x, y, 40.0 - 35 * (index % 3))

    def _falling(self, canvas: Canvas, fall: float) -> None:
        """Two pieces in each lane (of leaves only in the outer lanes), swinging once from side to side on their way."""
        if not self.look.falling:
            return
        leaves = self.scene.season == "autumn"
        for place, ahead in LANES[:: 3 if leaves else 1]:
            lane, start = place + self._jitter(0.012), ahead + self._jitter(0.02)
            for piece in range(2):
                down = (fall + start / LANE_STEP + piece) % 2
                swing = np.sin(2 * np.pi * (fall + ahead))
                x, y = lane + (0.03 if leaves else 0.012) * swing, down * LANE_STEP - 0.06
                self._piece(canvas, self._x(x), y, 10.0 + 40 * swing)

    def _piece(self, canvas: Canvas, x: float, y: float, angle: float) -> None:
        """A flake or a leaf."""
        if self.scene.season == "winter":
            canvas.fill(ellipse(x, y, 0.0125, 0.0125), self._lit((252, 253, 255)), alpha=0.95)
        else:
            canvas.fill(ellipse(x, y, 0.026, 0.012, angle), self._lit(self.look.dress))

    def _x(self, x: float) -> float:
        return 1 - x if self._mirror else x

    def _jitter(self, amount: float) -> float:
        return float(self._rng.uniform(-amount, amount))

    def _lit(self, colour: Colour) -> Colour:
        red, green, blue = (a * b for a, b in zip(colour, self.light.land, strict=True))
        return (min(red, 255.0), green, blue)

    def _sky(self, canvas: Canvas) -> None:
        top, bottom = (mixed(a, b, self.light.share) for a, b in zip(self.look.sky, self.light.sky, strict=True))
        canvas.gradient(top, bottom)
        if self.scene.light == "day":
            x, y = self._x(0.84 + self._jitter(0.01)), 0.14 + self._jitter(0.01)
            canvas.glow((x, y), 0.10, (255, 250, 226), 0.55)
            canvas.fill(ellipse(x, y, 0.052, 0.052), (255, 249, 214))
        elif self.scene.light == "sunset":
            x, y = self._x(0.82 + self._jitter(0.01)), self.horizon - 0.10
            canvas.glow((x, y), 0.20, (255, 208, 130), 0.75)
            canvas.fill(ellipse(x, y, 0.085, 0.085), (255, 226, 150))
        else:
            x, y = self._x(0.84 + self._jitter(0.01)), 0.15 + self._jitter(0.01)
            canvas.glow((x, y), 0.13, (200, 200, 236), 0.45)
            canvas.fill(ellipse(x, y, 0.06, 0.06), (250, 246, 224))
        if self.scene.light != "dusk":
            self._cloud(canvas, self._x(0.20 + self._jitter(0.02)), 0.15 + self._jitter(0.015))

    def _cloud(self, canvas: Canvas, x: float, y: float) -> None:
        colour: Colour = (255, 255, 255) if self.scene.light == "day" else (255, 206, 186)
        puffs = [
            ellipse(x - 0.07, y + 0.012, 0.06, 0.03),
            ellipse(x, y, 0.07, 0.048),
            ellipse(x + 0.075, y + 0.014, 0.055, 0.028),
        ]
        canvas.paint(canvas.stencil(puffs), colour, alpha=0.8)

    def _land(self, canvas: Canvas) -> None:
        far, near = self.look.hills
        sky_low = mixed(self.look.sky[1], self.light.sky[1], self.light.share)
        h = self.horizon
        self._ridge(
            canvas,
            (h - 0.08, h - 0.15, h - 0.10, h - 0.06, h - 0.11),
            mixed(self._lit(far), sky_low, 0.35),
            self._lit(far),
        )
        self._trees(canvas)
        self._ridge(canvas, (h - 0.05, h - 0.03, h - 0.015, h - 0.03, h - 0.06), self._lit(near), self._lit(near))
        top, bottom = self.look.ground
        self._ridge(canvas, (h + 0.03, h + 0.015, h + 0.02, h + 0.04, h + 0.03), self._lit(top), self._lit(bottom))
        self._flowers(canvas)

    def _ridge(self, canvas: Canvas, heights: tuple[float, ...], top: Colour, bottom: Colour) -> None:
        knots = [(self._x(i / (len(heights) - 1) * 1.1 - 0.05), y + self._jitter(0.006)) for i, y in enumerate(heights)]
        crest = curve(knots, closed=False)
        corners = np.asarray([(crest[-1][0], 1.02), (crest[0][0], 1.02)], np.float32)
        canvas.fill(np.concatenate([crest, corners]), top, bottom)

    def _trees(self, canvas: Canvas) -> None:
        for place, size in ((0.10, 1.0), (0.90, 0.78)):
            x, y = self._x(place + self._jitter(0.012)), self.horizon
            draw = self._conifer if self.scene.season == "winter" else self._broadleaf
            draw(canvas, x, y, size * (1 + self._jitter(0.05)))

    def _broadleaf(self, canvas: Canvas, x: float, y: float, size: float) -> None:
        canvas.fill(ribbon([(x, y), (x, y - 0.16 * size)], 0.03 * size, 0.022 * size), self._lit(BARK))
        crown = [
            ellipse(x, y - 0.21 * size, 0.095 * size, 0.10 * size),
            ellipse(x - 0.05 * size, y - 0.16 * size, 0.075 * size, 0.065 * size),
            ellipse(x + 0.055 * size, y - 0.165 * size, 0.075 * size, 0.065 * size),
        ]
        stencil = canvas.stencil(crown)
        colour = self._lit(self.look.crown)
        canvas.paint(stencil, darker(colour, 1.06), darker(colour, 0.84))
        canvas.relief(stencil, 0.02, 0.35)

    def _conifer(self, canvas: Canvas, x: float, y: float, size: float) -> None:
        canvas.fill(ribbon([(x, y), (x, y - 0.06 * size)], 0.028 * size, 0.028 * size), self._lit(BARK))
        for level, wide in enumerate((0.10, 0.078, 0.054)):
            low = y - (0.045 + 0.085 * level) * size
            tip = low - 0.13 * size
            triangle = np.asarray([(x - wide * size, low), (x + wide * size, low), (x, tip)], np.float32)
            canvas.fill(triangle, self._lit((240, 246, 252)), self._lit(self.look.crown))

    def _flowers(self, canvas: Canvas) -> None:
        h = 1 - (1 - self.horizon) * 0.5
        season = self.scene.season
        for place, dy in ((0.10, 0.03), (0.27, 0.075), (0.76, 0.05), (0.91, 0.0)):
            x, y = self._x(place + self._jitter(0.015)), h + dy * 0.6 + self._jitter(0.006)
            if season == "spring":
                canvas.fill(ellipse(x, y, 0.022, 0.018), self._lit((250, 150, 186)))
                canvas.fill(ellipse(x, y, 0.008, 0.007), self._lit((255, 226, 120)))
            elif season == "summer":
                canvas.fill(ellipse(x, y, 0.020, 0.016), self._lit((255, 226, 84)))
            elif season == "autumn":
                canvas.fill(ellipse(x, y, 0.030, 0.012, -12), self._lit((206, 76, 40)))
            else:
                canvas.fill(ellipse(x, y, 0.06, 0.014), self._lit((248, 251, 254)))

    def branch(self, canvas: Canvas, y: float) -> None:
        """A branch across the picture whose upper edge is at `y` in the middle, dressed by the season."""
        drop = 0.018
        middle = y + 0.020
        path = [
            self._swayed(-0.05, middle + 0.035),
            self._swayed(0.3, middle + 0.004),
            self._swayed(0.62, middle + 0.002),
            self._swayed(1.05, middle - 0.05),
        ]
        twig = [self._swayed(0.66, middle), self._swayed(0.80, middle + 0.055), self._swayed(0.93, middle + 0.07)]
        bark = self._lit(BARK)
        stencil = canvas.stencil([ribbon(path, 0.052, 0.034), ribbon(twig, 0.026, 0.012)])
        canvas.paint(stencil, darker(bark, 1.15), darker(bark, 0.8))
        canvas.relief(stencil, 0.012, 0.4)
        if self.scene.season == "winter":
            for a, b in ((0, 1), (2, 3)):
                one, other = np.asarray(path[a]), np.asarray(path[b])
                ends = [one - (0, drop), (one + other) / 2 - (0, drop + 0.004), other - (0, drop * 0.9)]
                canvas.fill(ribbon(np.asarray(ends), 0.026, 0.022), self._lit(self.look.dress))
            return
        for place, dy, angle in (
            (0.07, -0.02, -30),
            (0.17, 0.05, 25),
            (0.80, -0.055, -35),
            (0.90, -0.02, 20),
            (0.93, 0.075, 15),
        ):
            x, y_leaf = self._swayed(place + self._jitter(0.008), middle + dy + self._jitter(0.006))
            side = -1 if self._mirror else 1
            if self.scene.season == "spring":
                canvas.fill(ellipse(x, y_leaf, 0.034, 0.031), self._lit(self.look.dress))
                canvas.fill(ellipse(x, y_leaf, 0.011, 0.010), self._lit((255, 232, 140)))
            else:
                colour = self._lit(self.look.dress)
                canvas.fill(ellipse(x, y_leaf, 0.050, 0.024, angle * side), darker(colour, 1.1), darker(colour, 0.88))

    def _swayed(self, x: float, y: float) -> tuple[float, float]:
        """A point of the branch: the nearer to its tip, the lower it hangs when it sways."""
        return self._x(x), y + self.moment.sway * (0.3 + 0.7 * x)

    def nest(self, canvas: Canvas, x: float, y: float, width: float) -> None:
        """A bowl of straw whose rim is at `y`, `width` from side to side; painted over the bird that sits in it."""
        half, deep = width / 2, width * 0.36
        straw = self._lit(STRAW)
        bowl = canvas.stencil(
            [
                curve(
                    [
                        (x - half, y),
                        (x - half * 0.82, y + deep * 0.68),
                        (x, y + deep),
                        (x + half * 0.82, y + deep * 0.68),
                        (x + half, y),
                        (x, y + 0.022),
                    ]
                )
            ]
        )
        canvas.paint(bowl, straw, darker(straw, 0.66))
        for step, share in ((0.32, 0.90), (0.62, 0.74)):
            level = y + deep * step
            canvas.fill(
                ribbon(
                    [(x - half * share, level - 0.012), (x, level + 0.022), (x + half * share, level - 0.012)],
                    0.010,
                    0.010,
                ),
                darker(straw, 0.62),
            )
        canvas.fill(
            ribbon([(x - half * 1.04, y - 0.006), (x, y + 0.022), (x + half * 1.04, y - 0.006)], 0.030, 0.030),
            darker(straw, 1.14),
        )
