"""The twelve birds: build, colours and plumage marks, as data.

Read by `bird` (which draws them) and `captions` (which names them). A species is told apart three times over: by
silhouette (crest, bill, legs, tail), by colours, and by marks, so that a small model can learn it and a small
classifier can verify it. Lengths are in units of the bird's frame (about the bird's length); angles in degrees,
negative is head up.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from bowerbird.training.canvas import Colour

Part = Literal["body", "head", "wing"]


@dataclass(frozen=True)
class Mark:
    """An ellipse of colour on a part: centre, half axes and angle in the part's own coordinates, clipped to the part.

    On the body and the wing one unit is the bird's frame; on the head it is the head's radius.
    """

    part: Part
    x: float
    y: float
    a: float
    b: float
    colour: Colour
    angle: float = 0.0


@dataclass(frozen=True)
class Bill:
    """A beak: `length` and `depth` in head radii; `hook` bends it down, `flat` widens it, `tip` colours its end."""

    length: float
    depth: float
    colour: Colour
    hook: float = 0.0
    flat: bool = False
    tip: Colour | None = None


@dataclass(frozen=True)
class Tail:
    """A tail: length, width at its end, depth of its fork, and its angle against the body."""

    length: float
    width: float
    colour: Colour
    fork: float = 0.0
    angle: float = 0.0


@dataclass(frozen=True)
class Species:
    """One kind of bird. `body` are half axes, `head` is (x, y, radius) from the body's centre when it sits upright."""

    name: str
    colour: Colour
    head_colour: Colour
    wing_colour: Colour
    body: tuple[float, float]
    head: tuple[float, float, float]
    tilt: float
    bill: Bill
    tail: Tail
    legs: float
    leg_colour: Colour
    crest: float = 0.0
    crown: bool = False
    neck: float = 0.0
    front_eyes: bool = False
    eye: Colour = (25, 22, 25)
    wing_length: float = 0.50
    marks: tuple[Mark, ...] = field(default=())


_BLACK: Colour = (38, 38, 46)
_WHITE: Colour = (244, 245, 247)

ROBIN = Species(
    name="american robin",
    colour=(112, 104, 104),
    head_colour=(58, 54, 60),
    wing_colour=(94, 88, 90),
    body=(0.235, 0.165),
    head=(0.185, -0.185, 0.118),
    tilt=-28,
    legs=0.13,
    leg_colour=(120, 90, 60),
    bill=Bill(0.85, 0.50, (242, 196, 62)),
    tail=Tail(0.25, 0.085, (74, 68, 72)),
    marks=(
        Mark("body", 0.07, 0.075, 0.22, 0.145, (222, 96, 44), 8),
        Mark("body", -0.16, 0.125, 0.085, 0.06, _WHITE),
        Mark("head", 0.30, -0.12, 0.34, 0.34, (236, 232, 226)),
    ),
)
CARDINAL = Species(
    name="northern cardinal",
    colour=(214, 44, 50),
    head_colour=(226, 44, 48),
    wing_colour=(172, 36, 48),
    body=(0.225, 0.155),
    head=(0.165, -0.19, 0.118),
    tilt=-36,
    legs=0.12,
    leg_colour=(110, 70, 60),
    bill=Bill(0.75, 0.80, (246, 140, 48)),
    tail=Tail(0.34, 0.10, (182, 36, 46)),
    crest=1.25,
    marks=(Mark("head", 0.72, 0.12, 0.46, 0.56, (40, 28, 34)),),
)
JAY = Species(
    name="blue jay",
    colour=(92, 148, 222),
    head_colour=(78, 134, 216),
    wing_colour=(58, 112, 206),
    body=(0.245, 0.15),
    head=(0.205, -0.175, 0.115),
    tilt=-24,
    legs=0.13,
    leg_colour=(60, 58, 66),
    bill=Bill(0.95, 0.50, (46, 46, 54)),
    tail=Tail(0.34, 0.12, (56, 104, 200)),
    crest=0.95,
    marks=(
        Mark("body", 0.06, 0.105, 0.25, 0.115, (232, 236, 242)),
        Mark("head", 0.38, 0.36, 0.62, 0.56, (240, 243, 247)),
        Mark("head", -0.15, 0.98, 1.0, 0.26, (44, 48, 66), -30),
        Mark("wing", -0.10, 0.02, 0.022, 0.2, _WHITE, 8),
        Mark("wing", -0.22, 0.04, 0.018, 0.2, _WHITE, 8),
    ),
)
GOLDFINCH = Species(
    name="american goldfinch",
    colour=(250, 212, 48),
    head_colour=(252, 216, 52),
    wing_colour=(50, 46, 50),
    body=(0.215, 0.168),
    head=(0.17, -0.17, 0.122),
    tilt=-26,
    legs=0.12,
    leg_colour=(180, 120, 80),
    bill=Bill(0.55, 0.62, (242, 150, 84)),
    tail=Tail(0.19, 0.085, (46, 44, 48), fork=0.3),
    marks=(
        Mark("head", 0.48, -0.80, 0.66, 0.52, (40, 36, 42), 20),
        Mark("wing", -0.05, 0.02, 0.026, 0.2, _WHITE, 8),
        Mark("body", -0.17, 0.11, 0.09, 0.06, _WHITE),
    ),
)
CROW = Species(
    name="american crow",
    colour=(50, 50, 62),
    head_colour=(46, 46, 58),
    wing_colour=(38, 38, 50),
    body=(0.275, 0.16),
    head=(0.225, -0.175, 0.125),
    tilt=-20,
    legs=0.17,
    leg_colour=(36, 34, 40),
    bill=Bill(1.25, 0.66, (40, 40, 48), hook=0.15),
    tail=Tail(0.25, 0.14, (40, 40, 52)),
    wing_length=0.56,
    marks=(Mark("wing", -0.02, -0.03, 0.18, 0.035, (82, 88, 122), 14),),
)
OWL = Species(
    name="snowy owl",
    colour=(236, 238, 244),
    head_colour=(242, 244, 248),
    wing_colour=(206, 213, 226),
    body=(0.25, 0.185),
    head=(0.055, -0.275, 0.178),
    tilt=-72,
    legs=0.06,
    leg_colour=(210, 205, 200),
    bill=Bill(0.3, 0.26, (70, 66, 74)),
    tail=Tail(0.13, 0.13, (208, 214, 226)),
    front_eyes=True,
    eye=(250, 200, 40),
    wing_length=0.54,
    marks=(
        Mark("body", 0.10, 0.06, 0.018, 0.13, (150, 156, 172)),
        Mark("body", 0.02, 0.08, 0.018, 0.13, (150, 156, 172)),
        Mark("body", -0.06, 0.08, 0.018, 0.13, (150, 156, 172)),
        Mark("wing", -0.04, 0.0, 0.02, 0.2, (142, 150, 168), 8),
        Mark("wing", -0.15, 0.02, 0.02, 0.2, (142, 150, 168), 8),
    ),
)
FLAMINGO = Species(
    name="flamingo",
    colour=(250, 150, 168),
    head_colour=(250, 158, 174),
    wing_colour=(240, 112, 144),
    body=(0.215, 0.135),
    head=(0.22, -0.36, 0.075),
    tilt=-12,
    legs=0.36,
    leg_colour=(236, 124, 146),
    bill=Bill(1.5, 0.85, (252, 214, 206), hook=0.9, tip=(44, 40, 48)),
    tail=Tail(0.10, 0.12, (240, 120, 150)),
    neck=0.062,
    wing_length=0.50,
    marks=(Mark("wing", -0.26, 0.06, 0.10, 0.12, (70, 52, 66), 10),),
)
PARROT = Species(
    name="green parrot",
    colour=(76, 186, 76),
    head_colour=(96, 202, 84),
    wing_colour=(44, 150, 66),
    body=(0.225, 0.145),
    head=(0.115, -0.215, 0.128),
    tilt=-54,
    legs=0.07,
    leg_colour=(120, 116, 116),
    bill=Bill(0.62, 1.05, (232, 66, 52), hook=0.75),
    tail=Tail(0.38, 0.06, (42, 138, 76)),
    marks=(
        Mark("head", -0.85, 0.15, 0.45, 0.85, (250, 214, 66), 15),
        Mark("head", 0.62, -0.55, 0.42, 0.34, (238, 76, 60), 35),
        Mark("wing", -0.21, 0.05, 0.13, 0.2, (48, 96, 204), 14),
        Mark("wing", 0.06, -0.04, 0.05, 0.06, (236, 72, 58)),
    ),
)
MALLARD = Species(
    name="mallard duck",
    colour=(196, 192, 188),
    head_colour=(22, 128, 86),
    wing_colour=(146, 132, 120),
    body=(0.295, 0.145),
    head=(0.25, -0.215, 0.105),
    tilt=-6,
    legs=0.10,
    leg_colour=(244, 140, 44),
    bill=Bill(1.35, 0.42, (246, 206, 62), flat=True),
    tail=Tail(0.12, 0.10, (58, 54, 60), angle=14),
    marks=(
        Mark("body", 0.22, 0.0, 0.135, 0.19, (124, 72, 52)),
        Mark("body", -0.28, 0.0, 0.075, 0.15, (50, 48, 54)),
        Mark("head", -0.35, 1.05, 0.95, 0.20, _WHITE, 22),
        Mark("wing", -0.12, 0.04, 0.055, 0.2, (54, 92, 200), 14),
    ),
)
PUFFIN = Species(
    name="atlantic puffin",
    colour=(44, 44, 54),
    head_colour=(44, 44, 54),
    wing_colour=(54, 54, 66),
    body=(0.245, 0.165),
    head=(0.115, -0.245, 0.128),
    tilt=-60,
    legs=0.085,
    leg_colour=(246, 124, 44),
    bill=Bill(1.05, 1.35, (246, 112, 44), hook=0.2, tip=(232, 60, 44)),
    tail=Tail(0.09, 0.085, _BLACK),
    marks=(
        Mark("body", 0.03, 0.105, 0.27, 0.125, _WHITE),
        Mark("head", 0.30, 0.10, 0.68, 0.62, (238, 238, 240)),
    ),
)
SWALLOW = Species(
    name="barn swallow",
    colour=(44, 68, 146),
    head_colour=(48, 76, 162),
    wing_colour=(36, 52, 116),
    body=(0.235, 0.115),
    head=(0.185, -0.13, 0.098),
    tilt=-26,
    legs=0.06,
    leg_colour=(60, 50, 50),
    bill=Bill(0.42, 0.34, (40, 38, 46)),
    tail=Tail(0.40, 0.15, (34, 48, 108), fork=0.85),
    wing_length=0.58,
    marks=(
        Mark("body", 0.02, 0.085, 0.25, 0.085, (246, 222, 186)),
        Mark("head", 0.45, 0.62, 0.72, 0.46, (196, 76, 44), -14),
        Mark("head", 0.85, -0.35, 0.30, 0.28, (196, 76, 44)),
    ),
)
KINGFISHER = Species(
    name="common kingfisher",
    colour=(28, 158, 190),
    head_colour=(24, 132, 182),
    wing_colour=(18, 116, 166),
    body=(0.205, 0.15),
    head=(0.135, -0.19, 0.135),
    tilt=-44,
    legs=0.055,
    leg_colour=(232, 92, 62),
    bill=Bill(1.75, 0.46, (44, 44, 54)),
    tail=Tail(0.11, 0.075, (22, 110, 170)),
    marks=(
        Mark("body", 0.05, 0.085, 0.23, 0.115, (240, 136, 52)),
        Mark("head", 0.35, 0.34, 0.42, 0.26, (240, 136, 52)),
        Mark("head", -0.42, 0.52, 0.32, 0.22, _WHITE, -20),
        Mark("head", 0.35, 0.88, 0.6, 0.28, _WHITE, -10),
        Mark("wing", -0.02, -0.02, 0.2, 0.022, (110, 220, 232), 14),
    ),
)

ALL_SPECIES: tuple[Species, ...] = (
    ROBIN,
    CARDINAL,
    JAY,
    GOLDFINCH,
    CROW,
    OWL,
    FLAMINGO,
    PARROT,
    MALLARD,
    PUFFIN,
    SWALLOW,
    KINGFISHER,
)
BY_NAME: dict[str, Species] = {species.name: species for species in ALL_SPECIES}
