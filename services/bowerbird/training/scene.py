"""What a picture shows, as plain data: the vocabulary of poses, seasons and lights, and `Scene`.

Called by everything in this package that draws, captions or judges. A scene says all that a picture holds, so the
same scene is the same picture; an animation is a row of scenes whose `wing`, `nod` and `turn` move.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from bowerbird.training.species import BY_NAME

SPECIES: Final = tuple(BY_NAME)
POSES: Final = ("perched", "standing", "flying", "nesting")
SEASONS: Final = ("spring", "summer", "autumn", "winter")
LIGHTS: Final = ("day", "sunset", "dusk")

Combination = tuple[str, str, str]
"""Species, pose, season."""

LEFT_SHARE: Final = 0.12
"""Share of birds that look left; their captions always say so, so that a prompt without a side is unambiguous."""

_HELD_OUT_STRIDE: Final = 13


def is_held_out(combination: Combination) -> bool:
    """Whether training never draws this species × pose × season (about 1 in 13, spread over all three)."""
    species, pose, season = combination
    index = SPECIES.index(species) * 16 + POSES.index(pose) * 4 + SEASONS.index(season)
    return (index * 5 + SPECIES.index(species)) % _HELD_OUT_STRIDE == 0


COMBINATIONS: Final[tuple[Combination, ...]] = tuple((s, p, e) for s in SPECIES for p in POSES for e in SEASONS)
TAUGHT: Final = tuple(c for c in COMBINATIONS if not is_held_out(c))
HELD_OUT: Final = tuple(c for c in COMBINATIONS if is_held_out(c))


@dataclass(frozen=True)
class Scene:
    """One picture.

    `wing` is the height of a flying bird's wings (1 up, -1 down; nothing else than `flying` shows it), `nod` the head's
    tilt in degrees (positive is down), `turn` how far the head has turned away from profile (0 profile, 1 looks back).
    `shift` moves the bird by fractions of the picture's side, `scale` multiplies its size, `layout` seeds the small
    jitter of the scenery.
    """

    species: str
    pose: str
    season: str
    light: str = "day"
    facing: int = 1
    wing: float = 0.8
    nod: float = 0.0
    turn: float = 0.0
    shift: tuple[float, float] = (0.0, 0.0)
    scale: float = 1.0
    layout: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be drawn."""
        known = (("species", SPECIES), ("pose", POSES), ("season", SEASONS), ("light", LIGHTS))
        for name, values in known:
            if getattr(self, name) not in values:
                raise UnknownSubject(f"{name} {getattr(self, name)!r}: expected one of {', '.join(values)}")

    @property
    def combination(self) -> Combination:
        """Species, pose, season."""
        return (self.species, self.pose, self.season)

    def mirrored(self) -> Scene:
        """The same picture seen in a mirror."""
        return replace(self, facing=-self.facing)


class UnknownSubject(ValueError):
    """A species, pose, season or light that the drawings do not know."""


def sample_scene(rng: np.random.Generator, combinations: tuple[Combination, ...] = TAUGHT) -> Scene:
    """A random scene from the given combinations (by default those that training may see)."""
    species, pose, season = combinations[rng.integers(len(combinations))]
    return varied(rng, Scene(species, pose, season, LIGHTS[rng.integers(len(LIGHTS))]))


def varied(rng: np.random.Generator, scene: Scene) -> Scene:
    """The scene with random side, size, place, wing beat and layout; its subject stays."""
    return replace(
        scene,
        facing=-1 if rng.random() < LEFT_SHARE else 1,
        wing=float(rng.uniform(0.6, 1.0)),
        nod=float(rng.uniform(-6, 6)),
        shift=(float(rng.uniform(-0.02, 0.02)), float(rng.uniform(-0.015, 0.015))),
        scale=float(rng.uniform(0.95, 1.05)),
        layout=int(rng.integers(2**31)),
    )
