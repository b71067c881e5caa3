"""What may be said of a bird beside its names: closed lists, since each word becomes a phrase of the prompt.

Which phrase, the template says (`image_prompt.jinja`); it is tried with every word at start. A behaviour is what a bird
does in one pose: it is the pose said more closely, and contradicts any other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

from bowerbird.errors import RequestInvalid


class Pose(StrEnum):
    """How the bird is seen."""

    PERCHED = "perched"
    STANDING = "standing"
    FLYING = "flying"
    NESTING = "nesting"


class Season(StrEnum):
    """When."""

    SPRING = "spring"
    SUMMER = "summer"
    AUTUMN = "autumn"
    WINTER = "winter"


class Behaviour(StrEnum):
    """What it does."""

    RESTING = "resting"
    ROOSTING = "roosting"
    FORAGING = "foraging"
    SOARING = "soaring"
    BROODING = "brooding"


POSE_OF: Mapping[Behaviour, Pose] = MappingProxyType(
    {
        Behaviour.RESTING: Pose.PERCHED,
        Behaviour.ROOSTING: Pose.PERCHED,
        Behaviour.FORAGING: Pose.STANDING,
        Behaviour.SOARING: Pose.FLYING,
        Behaviour.BROODING: Pose.NESTING,
    }
)
"""The pose in which a bird does it."""


class Names(NamedTuple):
    """How a species is called."""

    common: str
    scientific: str


class Circumstances(NamedTuple):
    """Pose, season and behaviour; None is for the model to choose, and it chooses what is usual for the species."""

    pose: Pose | None = None
    season: Season | None = None
    behaviour: Behaviour | None = None


def circumstances(pose: Pose | None, season: Season | None, behaviour: Behaviour | None) -> Circumstances:
    """What was asked for, the pose of a behaviour included; raises RequestInvalid where they contradict each other."""
    if behaviour is None:
        return Circumstances(pose, season)
    if pose not in (None, POSE_OF[behaviour]):
        fitting = [each.value for each, its in POSE_OF.items() if its is pose]
        raise RequestInvalid(
            f"behaviour: {behaviour.value!r} is not what a bird does that is {pose}. Accepted with this pose: "
            f"{', '.join(map(repr, fitting))}; or no pose.",
            param="behaviour",
        )
    return Circumstances(POSE_OF[behaviour], season, behaviour)


def every_circumstance() -> Iterator[Circumstances]:
    """All that can be asked for."""
    poses = [(pose, None) for pose in (None, *Pose)]
    behaviours = [(POSE_OF[behaviour], behaviour) for behaviour in Behaviour]
    for season in (None, *Season):
        for pose, behaviour in (*poses, *behaviours):
            yield Circumstances(pose, season, behaviour)
