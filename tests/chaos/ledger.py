"""What was sent and what was told, as it happened; the only witness of what the gateways promised.

Every exchange is one entry, written when it has ended. Pictures are kept as what they say and what they show
(`picture.Picture`), not as bytes.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from .picture import Picture
from .plan import Fault

NO_OPERATION = -1
"""Of exchanges that ask about a job, whosever it is."""


class Outcome(StrEnum):
    """What a client knows after an exchange."""

    TOLD = "told"
    """An answer came whole, whatever it says."""
    NEVER_ARRIVED = "never_arrived"
    """Nobody accepted the connection: nothing happened."""
    BROKE_OFF = "broke_off"
    """Sent, and no whole answer: it may have happened or not."""


class Step(StrEnum):
    """What an exchange was for."""

    DRAW = "draw"
    SUBMIT = "submit"
    LOOK = "look"
    RESULT = "result"
    CANCEL = "cancel"
    HEAR = "hear"
    MODERATE = "moderate"
    SPY = "spy"
    """For what belongs to another tenant."""
    REDRAW = "redraw"
    """Drawn anew when all is over, to be compared."""


@dataclass(frozen=True, slots=True)
class Answered:
    """What an answer with pictures says of them."""

    identifier: str | None
    seeds: tuple[int, ...]
    source: str
    drawn_by: str
    model_digest: str
    size: str
    steps: int
    output_format: str
    revised: bool
    """Something else was drawn than the prompt as it came."""
    pictures: tuple[Picture, ...]


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and what came of it."""

    operation: int
    step: Step
    gateway: int
    sent_at: float
    """Unix seconds."""
    ended_at: float
    outcome: Outcome
    status: int | None = None
    code: str | None = None
    request_id: str | None = None
    job: str | None = None
    state: str | None = None
    """Of the job, as it was told."""
    answered: Answered | None = None
    digest: str | None = None
    """Of an answer that is to be the same each time."""
    flagged: bool | None = None

    @property
    def succeeded(self) -> bool:
        """Pictures, or whatever else was asked for, came."""
        return self.outcome is Outcome.TOLD and self.status is not None and self.status < 300


@dataclass(frozen=True, slots=True)
class Struck:
    """A fault that was done, from its beginning until everything was back."""

    fault: Fault
    began_at: float
    ended_at: float


@dataclass(slots=True)
class Ledger:
    """All exchanges and faults of a run."""

    exchanges: list[Exchange] = field(default_factory=list)
    faults: list[Struck] = field(default_factory=list)
    abandoned: dict[int, str] = field(default_factory=dict)
    """Operations whose client lost its patience, and what it waited for."""
    heard: dict[str, list[tuple[int, str]]] = field(default_factory=dict)
    """Events of jobs, number and kind, as listeners heard them."""

    def wrote(self, exchange: Exchange) -> None:
        """One exchange has ended."""
        self.exchanges.append(exchange)

    def struck(self, fault: Fault, began_at: float, ended_at: float) -> None:
        """One fault is over."""
        self.faults.append(Struck(fault, began_at, ended_at))

    def by_operation(self) -> Mapping[int, list[Exchange]]:
        """Each operation's exchanges, in the order in which they ended."""
        found: dict[int, list[Exchange]] = defaultdict(list)
        for each in self.exchanges:
            found[each.operation].append(each)
        return found

    def save(self, file: Path) -> None:
        """One line of JSON for each exchange and each fault: what is read when a claim does not hold."""
        entries: Iterable[Any] = [*self.exchanges, *self.faults]
        lines = [json.dumps({type(each).__name__: asdict(each)}) for each in entries]
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
