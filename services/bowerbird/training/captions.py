"""Says in English what a scene shows, in many wordings, some of which are kept for evaluation.

Called by the training stages (`caption`) and by `quality` (`examination_prompt`, `sparse_prompt`). Promises: a caption
says nothing that the picture does not show; what it leaves out (species, pose, season, side) is what one would expect
unasked (`usual_pose`, `USUAL_SEASON`, `USUAL_SPECIES`, looking right); the wordings of examination prompts are never
taught, their words are. Why only the usual is left out: where "a blue jay in spring" was said of perched and of flying
jays alike, the model drew the mean of both, a jay with two heads. Why wordings are held out: a model that only knows
its sentences by heart would pass a test made of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from bowerbird.training.scene import SEASONS, Scene

SPECIES_NAMES: Final[dict[str, tuple[str, ...]]] = {
    "american robin": ("american robin", "robin"),
    "northern cardinal": ("northern cardinal", "cardinal", "red cardinal"),
    "blue jay": ("blue jay", "jay"),
    "american goldfinch": ("american goldfinch", "goldfinch", "yellow goldfinch"),
    "american crow": ("american crow", "crow", "black crow"),
    "snowy owl": ("snowy owl", "white owl", "owl"),
    "flamingo": ("flamingo", "pink flamingo"),
    "green parrot": ("green parrot", "parrot"),
    "mallard duck": ("mallard duck", "mallard", "duck"),
    "atlantic puffin": ("atlantic puffin", "puffin"),
    "barn swallow": ("barn swallow", "swallow"),
    "common kingfisher": ("common kingfisher", "kingfisher"),
}
POSE_PHRASES: Final[dict[str, tuple[str, ...]]] = {
    "perched": (
        "perched on a branch",
        "sitting on a branch",
        "perching on a tree branch",
        "perched",
        "resting on a branch",
    ),
    "standing": (
        "standing on the ground",
        "standing",
        "on the ground",
        "standing on its legs",
        "standing in the meadow",
    ),
    "flying": ("flying", "in flight", "flying through the air", "flying with its wings up", "flying in the sky"),
    "nesting": ("in a nest", "sitting in its nest", "nesting", "resting in a straw nest", "sitting in a nest"),
}
POSE_WORDS: Final[dict[str, tuple[str, ...]]] = {
    "perched": ("perched", "perching"),
    "standing": ("standing",),
    "flying": ("flying",),
    "nesting": ("nesting",),
}
SEASON_PHRASES: Final[dict[str, tuple[str, ...]]] = {
    "spring": ("in spring", "in springtime", "during spring", "in the spring season", "among pink spring blossoms"),
    "summer": ("in summer", "in summertime", "during summer", "in the summer season", "in the green of summer"),
    "autumn": ("in autumn", "in fall", "during autumn", "in the autumn season", "among orange autumn leaves"),
    "winter": ("in winter", "in wintertime", "during winter", "in the winter season", "in the snow of winter"),
}
LIGHT_PHRASES: Final[dict[str, tuple[str, ...]]] = {
    "day": ("by day", "in daylight", "under a bright sun", "at noon", "on a sunny day"),
    "sunset": ("at sunset", "in the evening", "in golden light", "under a setting sun", "at sundown"),
    "dusk": ("at dusk", "by moonlight", "under the moon", "at night", "at nightfall"),
}
LEFT_PHRASES: Final = ("facing left", "looking left", "looking to the left")
STYLES: Final = ("a picture", "an illustration", "a drawing", "an image", "a photo", "a painting", "artwork")
ADJECTIVES: Final = ("", "", "", "", "small", "beautiful", "cute", "lovely", "little", "pretty")

_TAUGHT_WORDINGS: Final = (
    "{bird} {pose} {season} {light}",
    "{bird} {pose} {season} {light}",
    "{bird} {pose}, {season} {light}",
    "{name}, {pose}, {season_word}, {light}",
    "{name} {pose} {light} {season}",
    "{light}, {bird} {pose} {season}",
    "{season}, {bird} {pose} {light}",
    "{style} of {bird} {pose} {season} {light}",
    "{style} of {posed_bird} {season} {light}",
    "{posed_bird} {season} {light}",
    "{posed_bird} {light}, {season_word}",
    "{season_word}: {bird} {pose} {light}",
    "{bird} that is {pose} {season} {light}",
    "{pose} {season}, {name} {light}",
    "{season_word} scene with {bird} {pose} {light}",
)
_EXAMINATION_WORDINGS: Final = (
    "{season} {light}, {style} of {bird}, {pose}",
    "{pose} {light}: {bird} {season}",
    "{style} of {bird} that is {pose} {light} {season}",
    "{light} {season}, {posed_bird}",
    "{style}: {season_word}, {name} {pose} {light}",
    "{season_word} scene with {posed_bird} {light}",
    "{name}, {season_word}, {pose} {light}",
    "{light}, {style} of {posed_bird}, {season}",
)

USUAL_SPECIES: Final = "american robin"
USUAL_SEASON: Final = "summer"
_STANDING_SPECIES: Final = ("flamingo", "mallard duck", "atlantic puffin")

_LIGHT_SAID: Final = 0.6
_USUAL_POSE_SAID: Final = 0.4
_USUAL_SEASON_SAID: Final = 0.5
_USUAL_SPECIES_SAID: Final = 0.6


def usual_pose(species: str) -> str:
    """How a bird of this species is drawn when nobody says how: "standing" if it does not perch, else "perched"."""
    return "standing" if species in _STANDING_SPECIES else "perched"


@dataclass(frozen=True)
class Said:
    """What of a scene a caption says."""

    light: bool
    pose: bool = True
    season: bool = True
    species: bool = True

    @classmethod
    def sampled(cls, scene: Scene, rng: np.random.Generator) -> Said:
        """What a training caption says: often not the light; the rest unless it is the usual."""
        return cls(
            light=rng.random() < _LIGHT_SAID,
            pose=scene.pose != usual_pose(scene.species) or rng.random() < _USUAL_POSE_SAID,
            season=scene.season != USUAL_SEASON or rng.random() < _USUAL_SEASON_SAID,
            species=scene.species != USUAL_SPECIES or rng.random() < _USUAL_SPECIES_SAID,
        )

    @classmethod
    def all_but_light(cls, rng: np.random.Generator) -> Said:
        """What an examination says: everything that can be marked, and the light now and then."""
        return cls(light=rng.random() < _LIGHT_SAID)

    def with_pose(self) -> Said:
        """The same, and the pose."""
        return replace(self, pose=True)


def caption(scene: Scene, rng: np.random.Generator) -> str:
    """A training caption; often it leaves out the light, and the pose, the season or the species where it is usual."""
    said = Said.sampled(scene, rng)
    return worded(scene, rng, _TAUGHT_WORDINGS[rng.integers(len(_TAUGHT_WORDINGS))], said)


def examination_prompt(scene: Scene, rng: np.random.Generator) -> str:
    """A prompt for evaluation: a wording that training never used; species, pose and season are always named."""
    said = Said.all_but_light(rng)
    return worded(scene, rng, _EXAMINATION_WORDINGS[rng.integers(len(_EXAMINATION_WORDINGS))], said)


def sparse_prompt(scene: Scene, rng: np.random.Generator) -> str:
    """What a person types first, such as "a blue jay in spring" or "an owl": no pose, no light, now and then no season.

    The scene that it asks for is `scene` in its usual pose, and in the usual season where the prompt names none.
    """
    names = SPECIES_NAMES[scene.species]
    season = "" if scene.season == USUAL_SEASON else f" {_pick(rng, SEASON_PHRASES[scene.season])}"
    return with_article(_pick(rng, names)) + season


def plain_prompt(scene: Scene) -> str:
    """The plainest full caption, such as "an american robin perched on a branch in winter at sunset"."""
    words = (with_article(scene.species), POSE_PHRASES[scene.pose][0], SEASON_PHRASES[scene.season][0])
    side = " facing left" if scene.facing < 0 else ""
    return " ".join((*words, LIGHT_PHRASES[scene.light][0])) + side


def vocabulary() -> list[str]:
    """Every word that captions are made of, sorted, lower case, punctuation included."""
    phrases: list[str] = [*STYLES, *ADJECTIVES, *LEFT_PHRASES, *SEASONS, "bird", "a an the : ,"]
    phrases += [w.replace("{", "").replace("}", "") for w in ("with", "of", "that is", "scene")]
    for table in (SPECIES_NAMES, POSE_PHRASES, POSE_WORDS, SEASON_PHRASES, LIGHT_PHRASES):
        for wordings in table.values():
            phrases += wordings
    return sorted({word for phrase in phrases for word in phrase.split()})


def worded(  # noqa: PLR0913 - what is said, how, and in whose words
    scene: Scene,
    rng: np.random.Generator,
    wording: str,
    said: Said,
    *,
    poses: tuple[tuple[str, ...], tuple[str, ...]] | None = None,
    styles: tuple[str, ...] = STYLES,
) -> str:
    """A wording with its blanks filled in.

    `poses` are the words that may stand before the bird's name and the phrases behind it; None takes those of the
    scene's pose.
    """
    if not said.pose:
        wording = wording.replace(" that is", "")
    words, phrases = poses or (POSE_WORDS[scene.pose], POSE_PHRASES[scene.pose])
    name = _pick(rng, SPECIES_NAMES[scene.species]) if said.species else "bird"
    adjective = _pick(rng, ADJECTIVES)
    name = f"{adjective} {name}".strip()
    pose_word = _pick(rng, words) if said.pose and words else ""
    parts = {
        "name": name,
        "bird": with_article(name),
        "posed_bird": with_article(f"{pose_word} {name}".strip()),
        "pose": _pick(rng, phrases) if said.pose else "",
        "season": _pick(rng, SEASON_PHRASES[scene.season]) if said.season else "",
        "season_word": scene.season if said.season else "",
        "light": _pick(rng, LIGHT_PHRASES[scene.light]) if said.light else "",
        "style": _pick(rng, styles),
    }
    text = wording.format(**parts)
    if scene.facing < 0:
        text += ", " + _pick(rng, LEFT_PHRASES)
    return _tidy(text)


def _pick(rng: np.random.Generator, wordings: tuple[str, ...]) -> str:
    return wordings[int(rng.integers(len(wordings)))]


def with_article(name: str) -> str:
    """The name with its indefinite article."""
    return f"an {name}" if name[0] in "aeio" else f"a {name}"


def _tidy(text: str) -> str:
    """One space between words, no punctuation without words around it."""
    pieces = [" ".join(piece.split()) for piece in text.split(",")]
    joined = ", ".join(piece for piece in pieces if piece and piece != ":")
    return joined.replace(" :", ":").removeprefix(": ").removesuffix(":").strip()
