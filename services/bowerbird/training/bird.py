"""Draws one bird: tail, legs, body with its plumage marks, wing, head, beak, eye, from `species` data and a pose.

Called by `drawing.draw`. Wings and head follow continuous parameters of the scene, posture, legs and eyelids those of
the moment, so that a clip can beat, turn and bend them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from bowerbird.training.canvas import Canvas, Colour, Points, Stencil, clipped, darker, mixed
from bowerbird.training.moment import AT_REST, Moment
from bowerbird.training.scene import Scene
from bowerbird.training.shapes import Frame, curve, ellipse, hull, ribbon
from bowerbird.training.species import BY_NAME, Bill, Mark, Species

FLIGHT_TILT = -8.0
OPEN_AT = 0.45
"""Share of the way into the air at which the wings are open."""
EYE = float(np.arccos(0.40))
"""Azimuth of an eye from the beak, in radians; from the side it lies 0.40 of the head's radius before the middle."""


@dataclass(frozen=True)
class Bird:
    """A species in a place: `body` is the frame of the tilted body; one unit of the frame `head` is its radius.

    `flight` is the share of its posture that is that of flight, 0 to 1.
    """

    species: Species
    scene: Scene
    body: Frame
    head: Frame
    upright: Frame
    flight: float
    blink: float

    @property
    def flies(self) -> bool:
        """Whether it is on the wing."""
        return self.flight >= 1

    @property
    def azimuth(self) -> float:
        """Where its beak points, in radians: 0 is ahead, half of pi at us, pi back."""
        return float(np.pi * self.scene.turn)

    @property
    def profile(self) -> float:
        """How much of its profile is seen: 1 from the side, 0 from in front, -1 looking back."""
        return float(np.cos(self.azimuth))


def tilt_of(species: Species, pose: str) -> float:
    """The body's angle in degrees (negative is head up); a long tail must not touch the ground."""
    if pose == "flying":
        return FLIGHT_TILT
    return species.tilt * 0.55 if pose == "standing" and species.tail.length > 0.15 else species.tilt


def posed(scene: Scene, x: float, y: float, scale: float, moment: Moment = AT_REST) -> Bird:
    """The scene's bird with its body's centre at (x, y), one unit of its data being `scale` of the picture's side."""
    species = BY_NAME[scene.species]
    flight = 1.0 if scene.pose == "flying" else moment.flight
    upright = Frame(x, y, scale, 0.0, scene.facing)
    tilt = _between(tilt_of(species, scene.pose), FLIGHT_TILT, flight) + moment.lean
    head_x, head_y, radius = species.head
    ahead, above = (species.body[0] + 0.16, -0.15) if species.neck else (species.body[0] * 0.92, -0.085)
    spot = upright.place([(_between(head_x, ahead, flight), _between(head_y, above, flight))])[0]
    head = Frame(float(spot[0]), float(spot[1]), scale * radius, scene.nod, scene.facing)
    return Bird(species, scene, Frame(x, y, scale, tilt, scene.facing), head, upright, flight, moment.blink)


def _between(one: float, other: float, share: float) -> float:
    """`one` moved towards `other` by `share`; exactly `other` at 1, as stills have it."""
    return other if share >= 1 else one + (other - one) * share


def draw_bird(canvas: Canvas, bird: Bird, ground: float) -> None:
    """Paint the bird; its feet reach `ground` (a fraction of the picture's side) unless it flies."""
    if bird.flight > 0:
        _wing_in_flight(canvas, bird, near=False)
    _tail(canvas, bird)
    _legs(canvas, bird, ground)
    _beak(canvas, bird)
    _body(canvas, bird)
    _eyes(canvas, bird)
    _beak_towards_us(canvas, bird)
    if bird.flight > 0:
        _wing_in_flight(canvas, bird, near=True)
    else:
        _folded_wing(canvas, bird)


def _tail(canvas: Canvas, bird: Bird) -> None:
    species, tail = bird.species, bird.species.tail
    a = species.body[0]
    angle = np.deg2rad(tail.angle)
    back = np.asarray([-np.cos(angle), -np.sin(angle)])
    side = np.asarray([back[1], -back[0]])
    root = np.asarray([-a * 0.72, 0.0])
    tip = root + back * (tail.length + a * 0.28)
    wide, notch = tail.width / 2, tip - back * tail.length * tail.fork * 0.6
    outline = [root + side * 0.045, tip + side * wide, notch, tip - side * wide, root - side * 0.045]
    if not tail.fork:
        outline[2] = tip + back * wide * 0.35
    stencil = canvas.stencil([bird.body.place(np.asarray(outline))])
    canvas.paint(stencil, tail.colour, darker(tail.colour, 0.82))
    canvas.relief(stencil, 0.012, 0.5)


def _legs(canvas: Canvas, bird: Bird, ground: float) -> None:
    species = bird.species
    scale, facing = bird.body.scale, bird.scene.facing
    if bird.scene.pose == "nesting":
        return
    if bird.flies:
        if species.legs > 0.25:
            trail = bird.body.place(ribbon([(-0.10, 0.05), (-0.34, 0.09), (-0.56, 0.10)], 0.03, 0.022))
            canvas.fill(trail, species.leg_colour)
        return
    for offset, shade in ((0.045, 0.85), (-0.03, 1.0)):
        x = bird.body.x + facing * offset * scale
        top, width = bird.body.y + 0.08 * scale, 0.026 * scale
        colour = darker(species.leg_colour, shade)
        canvas.fill(ribbon([(x, top), (x, ground)], width, width), colour)
        toe = x + facing * 0.05 * scale
        canvas.fill(ribbon([(x - facing * 0.025 * scale, ground), (toe, ground + 0.004)], width, width * 0.7), colour)


def _body(canvas: Canvas, bird: Bird) -> None:
    species = bird.species
    a, b = species.body
    trunk = bird.body.place(ellipse(0, 0, a, b))
    head = bird.head.place(ellipse(0, 0, 1, 1))
    parts = [trunk, head]
    if species.neck:
        parts.append(_long_neck(bird))
    else:
        shoulder = bird.body.place(ellipse(a * 0.42, -b * 0.08, b * 0.82, b * 0.78))
        parts.append(hull([shoulder, bird.head.place(ellipse(0, 0, 0.9, 0.9))]))
    parts += _crest(bird)
    whole = canvas.stencil(parts)
    canvas.paint(whole, species.colour)
    cap = [head, *_crest(bird)]
    canvas.paint(clipped(canvas.stencil([*cap, *_nape(bird)]), whole), species.head_colour)
    for mark in species.marks:
        if mark.part != "wing":
            on_body = mark.part == "body"
            seen = mark if on_body else replace(mark, x=mark.x * bird.profile)
            _mark(canvas, seen, bird.body if on_body else bird.head, whole)
    canvas.relief(whole, 0.026, 0.62)


def _nape(bird: Bird) -> list[Points]:
    """A wider head, so that a differently coloured hood ends on the neck and not at the skull."""
    return [] if bird.species.neck else [bird.head.place(ellipse(-0.12, 0.18, 1.05, 1.08))]


def _moved(point: Points, x: float, y: float) -> Points:
    return np.asarray([point[0] + x, point[1] + y], point.dtype)


def _long_neck(bird: Bird) -> Points:
    a = bird.species.body[0]
    chest, end = bird.body.place([(a * 0.75, 0.0)])[0], bird.head.place([(-0.2, 0.1)])[0]
    dx, dy = end - chest
    if bird.flies:
        path = [chest, _moved(chest, dx * 0.5, dy * 0.2 + 0.01), end]
    else:
        f = bird.scene.facing * bird.upright.scale * (1 - bird.flight)
        path = [
            chest,
            _moved(chest, 0.10 * f, dy * 0.18),
            _moved(chest, dx * 0.5, dy * 0.55),
            _moved(end, -0.05 * f, -0.01),
            end,
        ]
    width = bird.species.neck * bird.upright.scale
    return ribbon(np.asarray(path), width * 1.7, width)


def _crest(bird: Bird) -> list[Points]:
    height = bird.species.crest
    if not height:
        return []
    wide = 0.42 * abs(float(np.sin(bird.azimuth)))
    in_front = [(-wide, -0.75), (0.0, -0.95 - height * 0.7), (wide, -0.75), (0.0, -0.4)]
    seen = [bird.head.place(curve(in_front))] if wide > 0.02 else []
    return [
        *seen,
        bird.head.place(
            _turned(
                curve(
                    [
                        (0.55, -0.75),
                        (-0.35, -0.95 - height * 0.75),
                        (-0.75, -0.95 - height * 0.55),
                        (-0.95, -0.1),
                        (0, 0),
                    ]
                ),
                bird.profile,
            )
        ),
    ]


def _turned(points: Points, profile: float) -> Points:
    """Points of the head as they are seen when it has turned."""
    return np.asarray(points * (profile, 1), np.float32)


def _mark(canvas: Canvas, mark: Mark, frame: Frame, within: Stencil) -> None:
    outline = frame.place(ellipse(mark.x, mark.y, mark.a, mark.b, mark.angle))
    canvas.paint(clipped(canvas.stencil([outline]), within), mark.colour)


def _beak(canvas: Canvas, bird: Bird) -> None:
    bill = bird.species.bill
    if bird.species.front_eyes:
        return
    points = np.asarray([(x * bird.profile, y + 0.05) for x, y in _beak_outline(bill)], np.float32)
    beak = canvas.stencil([bird.head.place(curve(points))])
    canvas.paint(beak, bill.colour, darker(bill.colour, 0.8))
    _beak_tip(canvas, bird, beak)


def _beak_towards_us(canvas: Canvas, bird: Bird) -> None:
    """What the head no longer hides of a beak once it has turned; from in front it is a short rhombus."""
    bill, front = bird.species.bill, float(np.sin(bird.azimuth))
    if bird.species.front_eyes or front < 0.05:
        return
    ahead = np.asarray([(max(x, 0.92) * bird.profile, y + 0.05) for x, y in _beak_outline(bill)], np.float32)
    wide, half = 0.42 * bill.depth * front * (1.5 if bill.flat else 1.0), bill.depth / 2
    root, low = 0.92 * bird.profile, 0.05 + half * (1.1 + 0.9 * bill.hook) + 0.16 * front
    base = np.asarray([(root - wide, 0.06), (root, 0.05 - half * 0.8), (root + wide, 0.06), (root, low)], np.float32)
    beak = canvas.stencil([bird.head.place(hull([curve(ahead), base]))])
    canvas.paint(beak, bill.colour, darker(bill.colour, 0.8))
    _beak_tip(canvas, bird, beak)


def _beak_tip(canvas: Canvas, bird: Bird, beak: Stencil) -> None:
    bill = bird.species.bill
    if bill.tip is None:
        return
    edge = (0.86 + bill.length * 0.85) * bird.profile
    height = 0.4 if bill.hook > 0.5 else 0.1
    tip = Mark("head", edge, height, 0.42 * bill.length * 0.8, 0.62 * bill.depth + 0.2, bill.tip)
    _mark(canvas, tip, bird.head, beak)


def _beak_outline(bill: Bill) -> list[tuple[float, float]]:
    """Seen from the side, in head radii."""
    length, half = bill.length, bill.depth / 2
    start, drop = 0.72, bill.hook * 0.75
    if bill.flat:
        return [
            (start, -half * 1.3),
            (0.95 + length * 0.45, -half * 0.25 + 0.1),
            (0.9 + length, 0.02),
            (1.0 + length, 0.22),
            (0.85 + length * 0.9, 0.42),
            (start, half * 1.2 + 0.15),
        ]
    if bill.hook > 0.5:
        return [
            (start, -half),
            (0.9 + length * 0.55, -half * 0.75),
            (0.88 + length, half * 0.4),
            (0.86 + length * 0.92, half * 0.4 + drop),
            (0.85 + length * 0.45, half * 0.9),
            (start, half),
        ]
    return [
        (start, -half),
        (0.9 + length * 0.5, -half * 0.55 + drop * 0.1),
        (0.9 + length, 0.06 + drop),
        (0.9 + length * 0.45, half * 0.62),
        (start, half),
    ]


def _eyes(canvas: Canvas, bird: Bird) -> None:
    species, head = bird.species, bird.head
    if species.front_eyes:
        _eyes_in_front(canvas, bird)
        return
    size = 0.20 if species.head[2] > 0.09 else 0.24
    eye = EYE - 0.3 * abs(float(np.sin(bird.azimuth)))  # a little nearer to each other where both are seen
    for azimuth in (bird.azimuth + eye, bird.azimuth - eye):
        seen = min(1.0, float(np.sin(azimuth) / np.sin(EYE)))
        if seen < 0.05:
            continue
        x, y = float(np.cos(azimuth)), -0.16
        wide, high = size * seen, size * max(0.12, 1 - bird.blink)
        rim = mixed(species.head_colour, (250, 250, 250), 0.75)
        canvas.fill(head.place(ellipse(x, y, wide * 1.22, size * 1.22)), rim)
        canvas.fill(head.place(ellipse(x, y, wide, high)), species.eye)
        if bird.blink < 0.5:
            glint = ellipse(x + wide * 0.28, y - high * 0.32, wide * 0.36, high * 0.36)
            canvas.fill(head.place(glint), (255, 255, 255))


def _eyes_in_front(canvas: Canvas, bird: Bird) -> None:
    """An owl's face: both eyes and the beak between them, which go from side to side as the head turns."""
    species, head, open_ = bird.species, bird.head, max(0.1, 1 - bird.blink)
    shift = 0.2 + 0.5 * np.sin(np.pi * bird.scene.turn)
    for x in (-0.40, 0.40):
        canvas.fill(head.place(ellipse(shift + x, -0.05, 0.37, 0.40)), (252, 252, 254))
        canvas.fill(head.place(ellipse(shift + x, -0.05, 0.235, 0.25 * open_)), species.eye)
        canvas.fill(head.place(ellipse(shift + x, -0.05, 0.135, 0.15 * open_)), (24, 22, 28))
    canvas.fill(head.place(curve([(shift - 0.13, 0.14), (shift + 0.13, 0.14), (shift, 0.52)])), species.bill.colour)


def _folded_wing(canvas: Canvas, bird: Bird) -> None:
    species = bird.species
    a, b = species.body
    tip = -a * 0.45 - species.wing_length * 0.46
    outline = curve(
        [
            (a * 0.42, -b * 0.18),
            (a * 0.12, -b * 0.62),
            (-a * 0.55, -b * 0.5),
            (tip, b * 0.22),
            (-a * 0.5, b * 0.52),
            (a * 0.1, b * 0.5),
        ]
    )
    _feathered(canvas, bird, bird.body.place(outline), bird.body, species.wing_colour)


def _wing_in_flight(canvas: Canvas, bird: Bird, near: bool) -> None:
    species = bird.species
    a, b = species.body
    spread = min(1.0, bird.flight / OPEN_AT)
    if not near and spread < 0.3:
        return
    lift = bird.scene.wing * (1.0 if near else 0.92)
    reach = species.wing_length * (1.0 if near else 0.92)
    root = np.asarray([a * 0.36 if near else a * 0.62, -b * 0.2])
    flat = 1 - abs(lift)
    level = max(0.0, 1 - abs(lift) / 0.5) * (0.20 if near else -0.13)  # spread wings are seen a little from above
    tip = root + np.asarray([-0.26 - 0.22 * flat if near else 0.0 - 0.36 * flat, level - reach * lift])
    if spread < 1:
        folded = np.asarray([-a * 0.45 - species.wing_length * 0.46, b * 0.22])
        tip = folded + (tip - folded) * spread
    chord = np.asarray([-a * 1.0, b * 0.25])
    middle = root * 0.55 + tip * 0.45
    outline = curve(
        np.asarray(
            [
                root,
                _moved(middle, 0.085, -0.02 * lift),
                _moved(tip, 0.045, 0.03 * lift),
                _moved(tip, -0.03, 0.0),
                _moved(tip, -0.075, 0.13 * lift),
                middle + chord * 0.80,
                root + chord,
            ]
        )
    )
    colour = species.wing_colour if near else darker(mixed(species.wing_colour, species.colour, 0.25), 0.80)
    axis = float(np.rad2deg(np.arctan2(tip[1] - root[1], tip[0] - root[0])))
    place = bird.body.place([tuple(middle)])[0]
    frame = Frame(float(place[0]), float(place[1]), bird.body.scale, bird.body.angle + axis + 180, bird.scene.facing)
    _feathered(canvas, bird, bird.body.place(outline), frame, colour)


def _feathered(canvas: Canvas, bird: Bird, outline: Points, frame: Frame, colour: Colour) -> None:
    """A wing with its marks; the marks lie in `frame`, whose x axis runs from the wing's tip to its shoulder."""
    wing = canvas.stencil([outline])
    canvas.paint(wing, colour, darker(colour, 0.86))
    for mark in bird.species.marks:
        if mark.part == "wing":
            _mark(canvas, mark, frame, wing)
    canvas.relief(wing, 0.02, 0.6)
