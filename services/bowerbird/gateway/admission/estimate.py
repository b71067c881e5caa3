"""How long it takes: the measured rate of service, and the wait that follows from it.

The rate is measured while it matters, when somebody waits and every slot is taken: what a request cost, divided by the
time for which it held its slot. It is kept for a slot, so that it holds when endpoints come and go, and old
measurements fade. Until there are any, what the endpoints say of themselves (`ModelCosts.unit_seconds`) stands in.

The wait is found by list scheduling (Graham, "Bounds for Certain Multiprocessing Anomalies", 1966): every slot is free
again when what it computes is done, each ticket ahead takes the slot that is free first, and so does this one. Those
ahead count with their mean cost: then, once the slots end less than one request apart, each round of them is like the
one before, and rounds are counted instead of played.

What is left of a request that is computed now, nobody says; it follows from how fast requests have been going since it
was granted. An endpoint has twice the slots that fill its largest efficient batch: with half of them taken or fewer,
requests go as fast as they can, and with more they share what there is.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable
from dataclasses import dataclass

FADES_SECONDS = 120.0
"""After so many seconds of saturation a measurement counts a third."""

_OVERRUN_GAIN = 0.2

PRIOR_SECONDS = 1.0
"""What is said of a rate beforehand counts as much as measuring one slot for so long."""


@dataclass(slots=True)
class ServiceRate:
    """Compute units that one slot finishes in a second, when all are taken."""

    _units: float = 0.0
    _slot_seconds: float = 0.0
    _saturated: bool = False
    _saturated_seconds: float = 0.0
    _read: float = 0.0
    _measured_at: float = 0.0

    def saturated(self, saturated: bool, now: float) -> None:
        """From now on somebody waits while all slots are taken, or no longer."""
        self.saturated_seconds(now)
        self._saturated = saturated

    def saturated_seconds(self, now: float) -> float:
        """How long all slots have been taken while somebody waited, in all."""
        if self._saturated:
            self._saturated_seconds += now - self._read
        self._read = now
        return self._saturated_seconds

    def finished(self, cost: float, seconds: float, saturated_seconds: float) -> None:
        """One request is finished that held a slot for so long; the saturated part of it counts."""
        if saturated_seconds <= 0:
            return
        fades = math.exp((self._measured_at - self._saturated_seconds) / FADES_SECONDS)
        self._measured_at = self._saturated_seconds
        self._units = self._units * fades + cost * min(1.0, saturated_seconds / seconds)
        self._slot_seconds = self._slot_seconds * fades + saturated_seconds

    def of_slot(self, prior: float | None) -> float | None:
        """Units a second; `prior` is what one would say without having measured. None when nobody knows."""
        if prior is None:
            return self._units / self._slot_seconds if self._slot_seconds else None
        return (self._units + prior * PRIOR_SECONDS) / (self._slot_seconds + PRIOR_SECONDS)


@dataclass(slots=True)
class Overrun:
    """Seconds from a grant to the answer beyond what the rate of service says: its spread, and what follows the slot
    (choosing, labelling, signing). All but one in ten take at most so much.

    An expectile, followed one observation at a time (Newey and Powell, "Asymmetric Least Squares Estimation", 1987).
    """

    seconds: float = 0.0

    def took(self, seconds: float) -> None:
        """One granted request was answered after so much more than its cost at the measured rate."""
        weight = 0.9 if seconds > self.seconds else 0.1
        self.seconds = max(0.0, self.seconds + _OVERRUN_GAIN * weight * (seconds - self.seconds))


@dataclass(slots=True)
class Progress:
    """How many units each of the requests that hold a slot has advanced by; two readings say how far in between."""

    _units: float = 0.0
    _read: float = 0.0

    def at(self, now: float, rate: float, slots: int, taken: int) -> float:
        """The reading at `now`; since the last one `taken` of `slots` slots were, at `rate` units a second each."""
        if now > self._read:
            if taken:
                self._units += (now - self._read) * rate * slots / max(taken, slots / 2)
            self._read = now
        return self._units


def units_until_a_slot(remaining: Iterable[float], slots: int, count: int, units: float) -> float:
    """What one slot computes until a ticket is granted that has `count` tickets of `units` in all before it.

    `remaining` is what is left of each request that holds one of the `slots` slots.
    """
    ends = sorted(remaining)[-slots:]  # of more requests than slots, the first that end leave no room yet
    ends = [0.0] * (slots - len(ends)) + ends
    mean = units / count if count else 0.0
    while count and ends[-1] - ends[0] > mean:
        heapq.heapreplace(ends, ends[0] + mean)
        ends.sort()
        count -= 1
    rounds, place = divmod(count, slots)
    return ends[place] + rounds * mean
