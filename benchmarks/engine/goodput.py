"""What became of a trace.

Goodput counts pictures that arrived within their deadline, by second of the trace; who left is not counted at all.
Latency is counted from the moment a request was due, not from when the generator got round to it, and a request that
got no picture counts with its deadline at least: else refusing the slow half would look like being fast.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Outcome(StrEnum):
    """How a request ended, as its client saw it."""

    DRAWN = "drawn"
    REFUSED = "refused"
    FAILED = "failed"
    LEFT = "left"


@dataclass(frozen=True, slots=True)
class Ended:
    """One request: `seconds` from when it was due to its end."""

    outcome: Outcome
    seconds: float
    deadline_seconds: float
    tight: bool


@dataclass(frozen=True, slots=True)
class Score:
    """Of one trace; latencies are those of requests with an ordinary deadline."""

    asked: int
    in_time: int
    late: int
    refused: int
    failed: int
    goodput: float
    p50_seconds: float
    p99_seconds: float

    def facts(self) -> dict[str, Any]:
        """For the record."""
        return {name: getattr(self, name) for name in self.__slots__}


def score(ended: Sequence[Ended], seconds: float) -> Score:
    """Of all who did not leave, over a trace of `seconds`."""
    waited = [each for each in ended if each.outcome is not Outcome.LEFT]
    drawn = [each for each in waited if each.outcome is Outcome.DRAWN]
    in_time = sum(each.seconds <= each.deadline_seconds for each in drawn)
    ordinary = counted(ended)
    return Score(
        asked=len(waited),
        in_time=in_time,
        late=len(drawn) - in_time,
        refused=sum(each.outcome is Outcome.REFUSED for each in waited),
        failed=sum(each.outcome is Outcome.FAILED for each in waited),
        goodput=in_time / seconds,
        p50_seconds=percentile(ordinary, 50),
        p99_seconds=percentile(ordinary, 99),
    )


def counted(ended: Sequence[Ended]) -> list[float]:
    """The latencies, in seconds, of all who did not leave and had an ordinary deadline."""
    return [_seconds(each) for each in ended if each.outcome is not Outcome.LEFT and not each.tight]


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that `percent` of all do not exceed (nearest rank); NaN of nothing."""
    if not values:
        return math.nan
    ordered = sorted(values)
    return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)]


def _seconds(each: Ended) -> float:
    return each.seconds if each.outcome is Outcome.DRAWN else max(each.seconds, each.deadline_seconds)
