"""Which requests and which faults, and which of them meet: a pure function of the seed.

A fault stands between two operations: it begins as soon as the one before it has been sent, and the next one is not
sent before the fault has begun. So the operations around a fault meet it, however fast the machine is, and no clock is
part of the plan.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from random import Random

from . import prompts
from .proxy import Trouble

TENANTS = 3
SEEDS = 2**31
"""Far below the largest, so that the second picture of a request has the next one."""
REUSED = 0.45
"""Operations that ask for what was asked before: stored pictures answer, or one that is being drawn."""
LATELY = 40
"""Among so many recipes, the last ones."""
TOGETHER = 0.15
"""Faults that begin before the one before them has ended."""

DEATHS_MEANWHILE = 0.4
"""Faults of what keeps the rows during which a gateway is killed, too: it starts while there is nothing to read."""

FORMATS = ("png", "png", "webp", "jpeg")


class Setup(StrEnum):
    """Which processes there are."""

    SQLITE = "sqlite"
    """One gateway, a SQLite file and a folder of pictures, as `bowerbird up` has it."""
    POSTGRESQL = "postgresql"
    """Two gateways, PostgreSQL, and a picture store that both reach: S3, or a folder where there is no S3 server."""

    @property
    def gateways(self) -> int:
        """How many."""
        return 2 if self is Setup.POSTGRESQL else 1


class Kind(StrEnum):
    """What a client does; `traffic` says how."""

    PLAIN = "plain"
    KEYED = "keyed"
    REPEATED = "repeated"
    JOB = "job"
    KEYED_JOB = "keyed_job"
    HEARD_JOB = "heard_job"
    CANCELLED = "cancelled"
    HANG_UP = "hang_up"
    KEYED_HANG_UP = "keyed_hang_up"
    FOREIGN = "foreign"
    MODERATED = "moderated"
    REFUSED = "refused"
    CRISIS = "crisis"

    @property
    def keeps(self) -> bool:
        """Whether a job comes of it, in whose row its prompt is kept."""
        return self in _KEEPING


_KEEPING = frozenset(
    {Kind.KEYED, Kind.REPEATED, Kind.JOB, Kind.KEYED_JOB, Kind.HEARD_JOB, Kind.CANCELLED, Kind.KEYED_HANG_UP}
)

DELIVERED = frozenset({Kind.KEYED, Kind.REPEATED, Kind.KEYED_HANG_UP})
"""Whose pictures come under a key."""

MIX = {
    Kind.PLAIN: 28,
    Kind.KEYED: 10,
    Kind.REPEATED: 6,
    Kind.JOB: 10,
    Kind.KEYED_JOB: 6,
    Kind.HEARD_JOB: 3,
    Kind.CANCELLED: 6,
    Kind.HANG_UP: 5,
    Kind.KEYED_HANG_UP: 4,
    Kind.FOREIGN: 6,
    Kind.MODERATED: 7,
    Kind.REFUSED: 5,
    Kind.CRISIS: 4,
}
"""Of a hundred operations."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What is to be drawn: two operations of one recipe get the same pixels."""

    number: int
    prompt: str
    word: str
    seed: int
    pictures: int
    output_format: str


@dataclass(frozen=True, slots=True)
class Operation:
    """What one client does."""

    number: int
    kind: Kind
    tenant: int
    gateway: int
    """Which is asked first."""
    recipe: Recipe | None
    text: str = ""
    """What is asked where nothing is to be drawn."""
    word: str = ""
    flagged: bool = False
    keyed: bool = False
    """With an `Idempotency-Key`, where the kind leaves it open."""
    fresh: bool = False
    """Drawn, whatever is stored."""
    seconds: float = 0.0
    """Until the client hangs up or cancels."""

    @property
    def name(self) -> str:
        """What it says of itself in `safety_identifier`, which comes back in the answer and stands in a job's row."""
        return f"operation-{self.number}"


class FaultKind(StrEnum):
    """What is done to a target; `faults` says how."""

    KILL = "kill"
    KILL_WORKER = "kill_worker"
    PAUSE = "pause"
    LINK = "link"
    FULL_DISK = "full_disk"


@dataclass(frozen=True, slots=True)
class Fault:
    """What breaks, before which operation, and for how long."""

    number: int
    kind: FaultKind
    target: str
    before: int
    delay_seconds: float
    """After the operation before it was sent: something is under way then."""
    seconds: float
    """How long it lasts, where it does not end by itself."""
    together: bool
    """It does not wait until the fault before it is over."""
    trouble: Trouble | None = None
    place: float = 0.0
    """0 to 1: where in an answer it strikes."""

    def __str__(self) -> str:
        what = self.trouble or self.kind
        return f"{what} {self.target}" + (f" for {self.seconds:.1f} s" if self.seconds else "")


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole run."""

    seed: int
    setup: Setup
    operations: Sequence[Operation]
    faults: Sequence[Fault]


KILLS = frozenset({FaultKind.KILL, FaultKind.KILL_WORKER})
GATEWAYS = ("gateway", "gateway-2")
STAGES = ("safety", "text-to-image", "curation")
EVERYTHING = "everything"
DATABASE = "postgresql"
STORE = "s3"
DISK = "disk"


@dataclass(frozen=True, slots=True)
class Means:
    """Which faults this machine can do, beside those that it always can."""

    small_disk: bool
    s3: bool


def make_plan(seed: int, setup: Setup, operations: int, faults: int, means: Means) -> Plan:
    """The plan of a seed; the same for the same arguments, on every machine."""
    asked = tuple(_operations(_random(seed, setup, "operations"), setup, operations))
    broken = tuple(_faults(_random(seed, setup, "faults"), setup, means, operations, faults))
    return Plan(seed, setup, asked, broken)


def _random(seed: int, setup: Setup, subject: str) -> Random:
    return Random(f"{seed} {setup} {subject}")  # noqa: S311 - to be repeated, not to be secret


def _operations(random: Random, setup: Setup, count: int) -> Iterator[Operation]:
    recipes: dict[tuple[int, bool], list[Recipe]] = {}
    kinds = random.choices(tuple(MIX), tuple(MIX.values()), k=count)
    for number, kind in enumerate(kinds):
        tenant, gateway = random.randrange(TENANTS), random.randrange(setup.gateways)
        if kind in (Kind.FOREIGN, Kind.MODERATED, Kind.REFUSED, Kind.CRISIS):
            yield _asked(random, number, kind, tenant, gateway)
            continue
        mine = recipes.setdefault((tenant, kind.keeps), [])
        if not mine or random.random() > REUSED:
            mine.append(_recipe(random, number, kind))
        yield Operation(
            number,
            kind,
            tenant,
            gateway,
            random.choice(mine[-LATELY:]),
            fresh=random.random() < 0.1,
            seconds=round(random.choice((0.05, 0.3, 1.0)) * random.uniform(0.5, 2.0), 3),
        )


def _asked(random: Random, number: int, kind: Kind, tenant: int, gateway: int) -> Operation:
    """An operation that draws nothing."""
    word, text, flagged = prompts.word(random), "", False
    if kind is Kind.MODERATED:
        text, flagged = prompts.moderated(random, word)
    elif kind is Kind.REFUSED:
        text = prompts.refused(random, word)
    elif kind is Kind.CRISIS:
        text = prompts.of_a_crisis(random, word)
    return Operation(number, kind, tenant, gateway, None, text, word, flagged=flagged, keyed=random.random() < 0.5)


def _recipe(random: Random, number: int, kind: Kind) -> Recipe:
    word = prompts.word(random)
    prompt = prompts.drawn(random, word)
    if kind.keeps and random.random() < 0.15:
        prompt = prompts.personal(prompt, word)
    pictures = 2 if random.random() < 0.1 else 1
    return Recipe(number, prompt, word, random.randrange(SEEDS), pictures, random.choice(FORMATS))


@dataclass(frozen=True, slots=True)
class _Choice:
    kind: FaultKind
    target: str
    weight: int
    seconds: tuple[float, float] = (0.0, 0.0)
    first: bool = False
    """Among those that even a short run has."""


def _choices(setup: Setup, means: Means) -> Iterator[_Choice]:
    """What can break, how often, and for how long."""
    for target in GATEWAYS[: setup.gateways]:
        yield _Choice(FaultKind.KILL, target, 12, first=target == "gateway")
        yield _Choice(FaultKind.PAUSE, target, 3, (1.0, 5.0))
        yield _Choice(FaultKind.PAUSE, target, 3, (11.0, 13.0), first=setup is Setup.POSTGRESQL and target == "gateway")
        if setup.gateways > 1:
            yield _Choice(FaultKind.LINK, target, 6, (1.5, 6.0), first=target == "gateway")
    for target in STAGES:
        first = target == "text-to-image"
        yield _Choice(FaultKind.KILL, target, 4, first=first)
        yield _Choice(FaultKind.KILL_WORKER, target, 3)
        yield _Choice(FaultKind.PAUSE, target, 3, (1.0, 6.0))
        yield _Choice(FaultKind.LINK, target, 12, (1.5, 4.0), first=True)
    yield _Choice(FaultKind.KILL, "animation", 1)
    yield _Choice(FaultKind.KILL, EVERYTHING, 3)
    if means.small_disk:
        yield _Choice(FaultKind.FULL_DISK, DISK, 8, (3.0, 6.0), first=True)
    if setup is Setup.POSTGRESQL:
        yield _Choice(FaultKind.KILL, DATABASE, 7, (1.0, 6.0), first=True)
        yield _Choice(FaultKind.PAUSE, DATABASE, 7, (1.0, 6.0))
        if means.s3:
            yield _Choice(FaultKind.PAUSE, STORE, 4, (1.0, 5.0))


def _chosen(random: Random, choices: Sequence[_Choice], count: int) -> list[_Choice]:
    """What breaks, in order; while the rows cannot be written, often a gateway dies as well."""
    first = [each for each in choices if each.first]
    random.shuffle(first)
    more = random.choices(choices, [each.weight for each in choices], k=max(0, count - len(first)))
    wanted = first[:count] + more
    random.shuffle(wanted)
    chosen: list[_Choice] = []
    for each in wanted:
        choice = each
        if chosen and chosen[-1].target in (DISK, DATABASE) and random.random() < DEATHS_MEANWHILE:
            choice = next(each for each in choices if _kills_a_gateway(each))
        while _is_too_much(choice, chosen):
            choice = random.choices(choices, [each.weight for each in choices])[0]
        chosen.append(choice)
    return chosen


def _faults(random: Random, setup: Setup, means: Means, operations: int, count: int) -> Iterator[Fault]:
    before: _Choice | None = None
    for number, choice in enumerate(_chosen(random, list(_choices(setup, means)), count)):
        yield Fault(
            number,
            choice.kind,
            choice.target,
            before=(2 * number + 1) * operations // (2 * count),
            delay_seconds=round(random.choice((0.0, 0.1, 0.4, 1.0)) * random.uniform(0.5, 1.5), 3),
            seconds=round(random.uniform(*choice.seconds), 2),
            together=random.random() < _chance_to_meet(before, choice),
            trouble=random.choice(tuple(Trouble)) if choice.kind is FaultKind.LINK else None,
            place=random.random(),
        )
        before = choice


def _is_too_much(choice: _Choice, chosen: Sequence[_Choice]) -> bool:
    """A service that dies several times within seconds of its start ends `bowerbird up`, and should."""
    return choice.kind in KILLS and any(each.kind in KILLS and each.target == choice.target for each in chosen[-2:])


def _chance_to_meet(before: _Choice | None, choice: _Choice) -> float:
    """That a fault does not wait for the end of the one before it.

    A stage that is started again on a full disk is not promised to start.
    """
    if before is None or choice.target == before.target or EVERYTHING in (choice.target, before.target):
        return 0.0
    if before.target in (DISK, DATABASE) and _kills_a_gateway(choice):
        return 1.0
    return 0.0 if DISK in (choice.target, before.target) else TOGETHER


def _kills_a_gateway(choice: _Choice) -> bool:
    return choice.kind is FaultKind.KILL and choice.target in GATEWAYS
