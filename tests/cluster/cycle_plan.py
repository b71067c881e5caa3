"""Which fault strikes which cycle, when and whom: a pure function of the seed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from random import Random

MODELS = ("safety", "text-to-image", "curation")


class Victim(StrEnum):
    """Who is struck."""

    MODEL = "model"
    GATEWAY = "gateway"
    KEDA = "keda"
    SCHEDULER = "scheduler"
    KUBELET = "kubelet"
    POSTGRESQL = "postgresql"


class Way(StrEnum):
    """How."""

    KILL = "kill"
    """SIGKILL; whoever supervises it starts it again."""
    STOP = "stop"
    """SIGSTOP for a while: connections stay open, and nothing answers."""


class Moment(StrEnum):
    """When: events, no times."""

    WAKING = "waking"
    """A Deployment is wanted, and no picture has come yet."""
    DRAWING = "drawing"
    """A slot of text-to-image is held."""


@dataclass(frozen=True, slots=True)
class Cycle:
    """One way from no pod to pods and back, with one fault."""

    number: int
    victim: Victim
    way: Way
    moment: Moment
    model: str
    """Which one, where a model is struck; drawing, there is one that draws."""
    stop_seconds: float
    """At most the five within which whoever is struck is to be there again."""
    requests: int
    jobs: int


def plan(seed: int, count: int) -> list[Cycle]:
    """The first `count` cycles of a seed; every victim comes equally often, in another order each round."""
    random, cycles = Random(seed), list[Cycle]()  # noqa: S311 - a plan that is to be the same again
    while len(cycles) < count:
        for victim in random.sample(list(Victim), len(Victim)):
            moment = random.choice([Moment.DRAWING] if victim is Victim.MODEL else list(Moment))
            cycles.append(
                Cycle(
                    number=len(cycles) + 1,
                    victim=victim,
                    way=random.choice(list(Way)),
                    moment=moment,
                    model="text-to-image" if moment is Moment.DRAWING else random.choice(MODELS),
                    stop_seconds=round(random.uniform(0.5, 4.0), 1),
                    requests=random.randint(2, 4),
                    jobs=random.randint(1, 3),
                )
            )
    return cycles[:count]
