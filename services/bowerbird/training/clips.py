"""Clips of the same birds: what moves in them and how, as plain data; `draw_clip` draws one.

Called by the motion stage, by its classifier and by evaluation. Promises: clip i of a seed is a function of the seed
and i; the bird is the same one in all frames; every motion closes its circle after `FRAMES` frames, and every clip
begins where its circle does: what frame i shows of a motion is a matter of i alone. That is what a small model can
learn in a few thousand steps (where clips began anywhere, it had to agree with itself where, and did not), and a longer
clip goes round and round. Whoever takes off therefore settles again.

At 8 frames a second a circle takes two seconds. A wing beats two or three times in it, which is as fast as that frame
rate can show.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bowerbird.training.drawing import SIZE, draw
from bowerbird.training.moment import Moment
from bowerbird.training.scene import TAUGHT, Combination, Scene, UnknownSubject, sample_scene
from bowerbird.training.species import BY_NAME

FRAMES: Final = 16
FRAMES_PER_SECOND: Final = 8.0
POSES_OF: Final[dict[str, tuple[str, ...]]] = {
    "flapping": ("flying",),
    "turning its head": ("perched", "standing", "nesting"),
    "hopping": ("standing", "perched"),
    "taking off": ("perched", "standing"),
    "still": ("perched", "standing", "nesting"),
}
"""Motions, and the poses in which a bird can make them; of taking off, the pose that it begins with."""
MOTIONS: Final = tuple(POSES_OF)
_LARGE: Final = ("flamingo", "american crow", "snowy owl", "mallard duck")
_LOOKS: Final = (0.42, 0.5, 0.58, 1.0)
_OPENS: Final = 2
"""The last frame in which a bird that takes off has not begun to beat its wings."""


@dataclass(frozen=True)
class Clip:
    """One clip: what the first frame shows, and what happens.

    `vigour` multiplies how far it moves, `sway` is the branch's in fractions of the picture's side, `look` how far a
    head turns.
    """

    scene: Scene
    motion: str
    vigour: float = 1.0
    sway: float = 0.012
    look: float = 0.5

    def __post_init__(self) -> None:
        """Refuse a motion that is not known, or that a bird in this pose cannot make."""
        if self.scene.pose not in POSES_OF.get(self.motion, ()):
            known = ", ".join(f"{motion} ({' or '.join(poses)})" for motion, poses in POSES_OF.items())
            raise UnknownSubject(f"motion {self.motion!r} of a bird that is {self.scene.pose}: expected one of {known}")

    def frame(self, index: int) -> tuple[Scene, Moment]:
        """Scene and moment of frame `index`."""
        turn = index / FRAMES
        wind = Moment(sway=self.sway * float(np.sin(2 * np.pi * turn)), fall=turn % 1)
        return _MOVES[self.motion](self, index, turn, wind)


def draw_clip(clip: Clip, size: int = SIZE, frames: int = FRAMES) -> NDArray[np.uint8]:
    """The clip's frames, uint8 [frames, size, size, 3]."""
    return np.stack([draw(scene, size, moment) for scene, moment in map(clip.frame, range(frames))])


def sample_clip(
    rng: np.random.Generator, combinations: tuple[Combination, ...] = TAUGHT, motion: str | None = None
) -> Clip:
    """A random clip of scenes from the given combinations, every motion equally often, or this one."""
    if motion is None:
        motion = MOTIONS[rng.integers(len(MOTIONS))]
    scene = sample_scene(rng, tuple(c for c in combinations if c[1] in POSES_OF[motion]))
    return Clip(
        scene,
        motion,
        vigour=float(rng.uniform(0.85, 1.15)),
        sway=float(rng.uniform(0.008, 0.016)),
        look=_LOOKS[rng.integers(len(_LOOKS))],
    )


def clip_at(seed: int, index: int, combinations: tuple[Combination, ...] = TAUGHT) -> Clip:
    """Clip `index` of a seed."""
    return sample_clip(np.random.default_rng((seed, index)), combinations)


def beats_of(species: str) -> int:
    """Beats of its wings in one circle."""
    return 2 if species in _LARGE else 3


def wing_at(turn: float, vigour: float = 1.0) -> float:
    """Height of the wings after `turn` beats: 1 is up, -0.6 as far down as they go; they stay up longer than down."""
    angle = 2 * np.pi * turn
    wave = np.cos(angle - 0.5 * np.sin(angle))
    return float(np.clip(0.2 + 0.8 * vigour * wave, -0.6, 1.0))


def _flapping(clip: Clip, index: int, turn: float, wind: Moment) -> tuple[Scene, Moment]:
    beat = turn * beats_of(clip.scene.species)
    wing = wing_at(beat, clip.vigour)
    return replace(clip.scene, wing=wing), replace(wind, move=(0.0, 0.028 * (wing - 0.22)))


def _turning(clip: Clip, index: int, turn: float, wind: Moment) -> tuple[Scene, Moment]:
    looked = _eased(np.clip(4 * (turn % 1) - 0.5, 0, 1)) - _eased(np.clip(4 * (turn % 1) - 2.5, 0, 1))
    blink = max(0.0, 1 - 16 * abs((turn - 0.5) % 1 - 0.0625))
    owl = BY_NAME[clip.scene.species].front_eyes
    look = 1.1 * looked - 0.7 if owl else clip.look * looked
    return replace(clip.scene, turn=look, nod=clip.scene.nod * (1 - looked)), replace(wind, blink=blink)


def _hopping(clip: Clip, index: int, turn: float, wind: Moment) -> tuple[Scene, Moment]:
    """Two hops in a circle: crouch, leap, land, look."""
    hop = turn * 2 % 1
    air = (hop - 0.2) / 0.5
    height = max(0.0, 4 * air * (1 - air))
    high = 0.10 if clip.scene.pose == "standing" else 0.075
    crouch = max(0.0, 1 - abs(hop - 0.14) / 0.14, 1 - abs(hop - 0.74) / 0.12)
    moment = replace(wind, move=(0.0, -high * clip.vigour * height), crouch=crouch, lean=-6 * height + 5 * crouch)
    if clip.scene.pose == "perched":
        moment = replace(moment, sway=wind.sway * 0.5 + 0.016 * crouch)
    return clip.scene, moment


def _taking_off(clip: Clip, index: int, turn: float, wind: Moment) -> tuple[Scene, Moment]:
    """Crouch, wings open, away: forwards, up and smaller, the branch springing back; then down to it again."""
    at = index % FRAMES
    crouch = float(np.interp(at, (0, 1, 3, 4, 5), (0, 0, 1, 0.6, 0)))
    flight = float(np.interp(at, (2, 5, 7, 12, 14, 16), (0, 0.55, 1, 1, 0.6, 0)))
    gone = _eased(float(np.interp(at, (3, 9, 11, 16), (0, 1, 1, 0))))
    wing = wing_at((at - 4) / FRAMES * 2 * beats_of(clip.scene.species), clip.vigour) if at > _OPENS else 1.0
    away = 0.10 if clip.scene.pose == "perched" else 0.06
    up = 0.11 if clip.scene.pose == "perched" else 0.21
    bob = 0.02 * (wing - 0.22) * flight
    moment = replace(
        wind,
        flight=flight,
        move=(away * gone, -up * clip.vigour * gone + bob),
        size=1 - 0.2 * gone,
        crouch=crouch,
        lean=-16 * flight * (1 - gone),
    )
    if clip.scene.pose == "perched":
        recoil = float(np.interp(at, (0, 1, 3, 5, 7, 9, 11, 14, 16), (0, 0, 0.018, -0.02, 0.012, -0.006, 0, 0, 0)))
        moment = replace(moment, sway=wind.sway * 0.5 + recoil)
    return replace(clip.scene, wing=wing), moment


def _still(clip: Clip, index: int, turn: float, wind: Moment) -> tuple[Scene, Moment]:
    return clip.scene, wind


_MOVES: Final[dict[str, Callable[[Clip, int, float, Moment], tuple[Scene, Moment]]]] = {
    "flapping": _flapping,
    "turning its head": _turning,
    "hopping": _hopping,
    "taking off": _taking_off,
    "still": _still,
}


def _eased(share: float) -> float:
    """0 to 1 with a slow start and a slow end: 3 s² - 2 s³."""
    return float(share * share * (3 - 2 * share))
