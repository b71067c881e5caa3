"""Says in English what a clip shows: what a still's caption says, and what the bird does.

Called by the motion stage (`clip_caption`) and by evaluation (`clip_prompt`). Promises what `captions` promises; of
motions, only the usual one is left out (a flying bird flaps, any other turns its head), and the place that a bird hops
on or takes off from where it is the species' usual one. The words of motions follow those of stills in the vocabulary,
so that a text encoder that knows stills needs some rows more and keeps the others.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from bowerbird.training.captions import POSE_PHRASES, Said, usual_pose, vocabulary, with_article, worded
from bowerbird.training.clips import Clip

MOTION_PHRASES: Final[dict[tuple[str, str], tuple[str, ...]]] = {
    ("flapping", "flying"): (
        "flapping its wings",
        "flapping",
        "beating its wings",
        "flying and flapping its wings",
        "flying with beating wings",
    ),
    ("turning its head", "perched"): (
        "perched on a branch, turning its head",
        "turning its head on a branch",
        "sitting on a branch and turning its head",
        "perched and looking around",
    ),
    ("turning its head", "standing"): (
        "standing on the ground, turning its head",
        "standing and turning its head",
        "standing and looking around",
    ),
    ("turning its head", "nesting"): (
        "in a nest, turning its head",
        "sitting in its nest and turning its head",
        "nesting and looking around",
    ),
    ("hopping", "standing"): ("hopping on the ground", "hopping about on the ground", "hopping in the meadow"),
    ("hopping", "perched"): ("hopping on a branch", "hopping about on a branch", "hopping on a tree branch"),
    ("taking off", "perched"): ("taking off from a branch", "flying off from a branch", "taking flight from a branch"),
    ("taking off", "standing"): (
        "taking off from the ground",
        "flying off from the ground",
        "taking flight from the ground",
    ),
    ("still", "perched"): ("sitting still on a branch", "perched still on a branch", "still on a branch"),
    ("still", "standing"): ("standing still on the ground", "standing still", "still on the ground"),
    ("still", "nesting"): ("still in a nest", "sitting still in its nest", "resting still in a nest"),
}
"""By motion and pose."""
PLACELESS_PHRASES: Final[dict[str, tuple[str, ...]]] = {
    "flapping": ("flapping its wings", "flapping"),
    "turning its head": ("turning its head", "looking around"),
    "hopping": ("hopping", "hopping about"),
    "taking off": ("taking off", "flying off", "taking flight"),
    "still": ("still", "sitting still", "not moving"),
}
"""For a bird in its species' usual pose; a hopping one is on the ground, unless it is said where."""
MOTION_WORDS: Final[dict[str, tuple[str, ...]]] = {
    "flapping": ("flapping", "flying"),
    "hopping": ("hopping",),
    "still": ("still", "motionless"),
}
"""Before the bird's name; the other motions cannot stand there."""
CLIP_STYLES: Final = ("a clip", "a video", "an animation", "a film", "a gif")

_TAUGHT_WORDINGS: Final = (
    "{bird} {pose} {season} {light}",
    "{bird} {pose} {season} {light}",
    "{bird} {pose}, {season} {light}",
    "{name}, {pose}, {season_word}, {light}",
    "{bird} {pose}, {season_word}",
    "{light}, {bird} {pose} {season}",
    "{season}, {bird} {pose} {light}",
    "{style} of {bird} {pose} {season} {light}",
    "{season_word}: {bird} {pose} {light}",
    "{bird} that is {pose} {season} {light}",
)
_POSED_WORDINGS: Final = ("{style} of {posed_bird} {season} {light}", "{posed_bird} {season} {light}")
_EXAMINATION_WORDINGS: Final = (
    "{season} {light}, {style} of {bird}, {pose}",
    "{style} of {bird} that is {pose} {light} {season}",
    "{style}: {season_word}, {name} {pose} {light}",
    "{name}, {season_word}, {pose} {light}",
)
_USUAL_MOTION_SAID: Final = 0.8
_PLACE_SAID: Final = 0.5
_POSED_SHARE: Final = 0.2


def usual_motion(pose: str) -> str:
    """What a bird in this pose does when nobody says what."""
    return "flapping" if pose == "flying" else "turning its head"


def usual_place(motion: str, species: str) -> str:
    """The pose in which a bird of this species makes a motion when nobody says where."""
    if motion == "flapping":
        return "flying"
    return "standing" if motion == "hopping" else usual_pose(species)


def clip_caption(clip: Clip, rng: np.random.Generator) -> str:
    """A training caption; it may leave out what is usual, and the light."""
    said = Said.sampled(clip.scene, rng)
    if rng.random() < _POSED_SHARE and clip.motion in MOTION_WORDS and _in_usual_place(clip):
        wording = _POSED_WORDINGS[rng.integers(len(_POSED_WORDINGS))]
    else:
        wording = _TAUGHT_WORDINGS[rng.integers(len(_TAUGHT_WORDINGS))]
    named = clip.motion != usual_motion(clip.scene.pose) or rng.random() < _USUAL_MOTION_SAID
    phrases = MOTION_PHRASES[clip.motion, clip.scene.pose] if named else POSE_PHRASES[clip.scene.pose]
    if named and _in_usual_place(clip) and rng.random() >= _PLACE_SAID:
        phrases = PLACELESS_PHRASES[clip.motion]
    words = MOTION_WORDS.get(clip.motion, ()), phrases
    return worded(clip.scene, rng, wording, said.with_pose(), poses=words, styles=CLIP_STYLES)


def clip_prompt(clip: Clip, rng: np.random.Generator) -> str:
    """A prompt for evaluation: a wording that training never used; species, motion, place and season are named."""
    wording = _EXAMINATION_WORDINGS[rng.integers(len(_EXAMINATION_WORDINGS))]
    phrases = MOTION_PHRASES[clip.motion, clip.scene.pose]
    return worded(clip.scene, rng, wording, Said.all_but_light(rng), poses=((), phrases), styles=CLIP_STYLES)


def plain_clip_prompt(clip: Clip) -> str:
    """Such as "an american robin taking off from a branch in winter"."""
    scene = clip.scene
    side = ", facing left" if scene.facing < 0 else ""
    return f"{with_article(scene.species)} {MOTION_PHRASES[clip.motion, scene.pose][0]} in {scene.season}{side}"


def clip_vocabulary() -> list[str]:
    """The words that clips have and stills have not, sorted."""
    phrases = [*CLIP_STYLES, "moving", "around"]
    for table in (MOTION_PHRASES, PLACELESS_PHRASES, MOTION_WORDS):
        for wordings in table.values():
            phrases += wordings
    words = {word.strip(",") for phrase in phrases for word in phrase.split()}
    return sorted(words - set(vocabulary()))


def _in_usual_place(clip: Clip) -> bool:
    return clip.scene.pose == usual_place(clip.motion, clip.scene.species)
