"""One flow's work in the order in which it is computed: short before long, as long as that makes nobody late.

`scheduler` asks before every turn. Least remaining cost first gives the shortest mean wait, but lets a stream of short
work run long work past its deadline; earliest deadline first meets every deadline that can be met, but lets short work
stand behind long work, and collapses when not all can be met. So:

1. The least number of works is given up as late that must be: Moore, "An n job, one machine sequencing algorithm for
   minimizing the number of late jobs", Management Science 15 (1968). They go last, and have what time is left.
2. Of the others everyone is in time in the order of deadlines (Jackson, 1955). The most urgent of them goes first
   whose whole remaining cost fits into the slack of all with an earlier deadline; the earliest deadline always may.

What is urgent is the scheduler's to say. Times are seconds; `speed` is the part of the model that the flow surely gets.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable

from bowerbird.engine.scheduling.work import Owner, Work

Seconds = Callable[[Work[Owner]], float]


def in_order(
    works: Iterable[Work[Owner]], now: float, remaining: Seconds[Owner], urgency: Seconds[Owner], speed: float = 1.0
) -> list[Work[Owner]]:
    """All of them; the lowest `urgency` first where deadlines allow it."""
    by_deadline = sorted(works, key=lambda work: work.claim.deadline)
    late = fewest_late(by_deadline, now, remaining, speed)
    waits: dict[Work[Owner], int] = dict.fromkeys(late, 2)
    slack, ends = float("inf"), now
    for work in by_deadline:
        if work not in late:
            seconds = remaining(work) / speed
            waits[work] = 0 if seconds <= slack else 1
            ends += seconds
            slack = min(slack, work.claim.deadline - ends)
    return sorted(by_deadline, key=lambda work: (waits[work], urgency(work)))


def fewest_late(
    by_deadline: Iterable[Work[Owner]], now: float, remaining: Seconds[Owner], speed: float = 1.0
) -> set[Work[Owner]]:
    """The least number of works without which all others can meet their deadlines; of equal ones the longest."""
    late: set[Work[Owner]] = set()
    kept: list[tuple[float, int, Work[Owner]]] = []
    ends = now
    for index, work in enumerate(by_deadline):
        seconds = remaining(work) / speed
        heapq.heappush(kept, (-seconds, index, work))
        ends += seconds
        if ends > work.claim.deadline:
            longest, _, given_up = heapq.heappop(kept)
            ends += longest
            late.add(given_up)
    return late
