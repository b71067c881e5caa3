"""A fair share of the model for every flow: whose piece is next, when each has one waiting.

A flow is whoever's work it is (a tenant). Deficit round robin (Shreedhar and Varghese, 1995) credits each waiting flow
a quantum in turn and serves it while its credit lasts; with weights of 0.01 to 100 and steps of very different cost its
bursts would be as long as its largest quantum. So the quantum here is infinitely small: of every second computed, each
flow that waits is credited its weight's share, and the one that was computed for is debited. Of the flows that are not
in debt, the one goes first whose piece would end earliest at its own rate (earliest eligible virtual deadline first:
Stoica and Abdel-Wahab, 1995). A flow that always waits gets its share of any stretch of time, more or less three times
the largest piece (`tests/unit/engine/test_scheduler.py`).

Credit and debt are kept as virtual time: `now` runs at 1 / (sum of weights), a flow's own clock at its seconds /
weight. A flow behind `now` has credit, one ahead is in debt.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

EQUAL = 1e-9
"""Virtual seconds that are no difference: sums of floats."""

Rank = tuple[bool, float]
"""In debt or not, and when the piece would end at its flow's rate."""


@dataclass(slots=True)
class _Flow:
    weight: float
    clock: float
    works: int = 0


class FairQueue:
    """The accounts of all flows of one class; times are seconds of computing."""

    def __init__(self) -> None:
        self._now = 0.0
        self._flows: dict[str, _Flow] = {}
        self._largest = 0.0

    def join(self, name: str, weight: float) -> None:
        """One more work of this flow; the weight is the flow's from now on. Credit is never brought along, debt is."""
        flow = self._flows.setdefault(name, _Flow(weight, self._now))
        if flow.works == 0:
            flow.clock = max(flow.clock, self._now)
        flow.weight = weight
        flow.works += 1

    def leave(self, name: str) -> None:
        """One work less; a queue that nobody is in forgets everything."""
        self._flows[name].works -= 1
        if not any(flow.works for flow in self._flows.values()):
            self._flows.clear()

    def share(self, name: str) -> float:
        """The part of the model, 0-1, that a flow gets while all that are here want theirs."""
        return self._flows[name].weight / sum(flow.weight for flow in self._flows.values() if flow.works)

    def leader(self, pieces: Mapping[str, float]) -> str:
        """Whose piece is computed next; `pieces` has each waiting flow's, in seconds."""
        self._now = max(self._now, min(self._flows[name].clock for name in pieces))
        eligible = [name for name in pieces if self._flows[name].clock <= self._now + EQUAL]
        return min(eligible, key=lambda name: self._deadline(name, pieces[name], 0.0))

    def rank(self, name: str, seconds: float, taken: float, contested: bool) -> Rank | None:
        """When this flow's piece may come along in a batch that holds `taken` seconds of it already; lower is sooner.

        None where it may not: while the batch keeps others waiting (`contested`), a flow that is in debt by more than
        one such piece.
        """
        flow = self._flows[name]
        ahead = flow.clock + taken / flow.weight - self._now
        if contested and ahead > seconds / flow.weight + EQUAL:
            return None
        return ahead > EQUAL, self._deadline(name, seconds, taken)

    def charge(self, seconds: Mapping[str, float], left_out: Collection[str]) -> None:
        """Settles a batch: what each flow had of it, and which flows had pieces waiting that were not in it."""
        total = sum(seconds.values())
        self._largest = max(total, self._largest * 0.99)
        advance = total / sum(flow.weight for flow in self._flows.values() if flow.works)
        self._now += advance
        for name, each in seconds.items():
            flow = self._flows[name]
            used = each / flow.weight
            # Whoever had all that he could use gets no credit for the rest, and keeps what he got while he waited.
            flow.clock += used if name in left_out else max(used, advance)
        for name, flow in list(self._flows.items()):
            if not flow.works and flow.clock <= self._now:
                del self._flows[name]
            # What a flow had while nobody else wanted it is no debt; beyond two pieces of debt it was that.
            flow.clock = min(flow.clock, self._now + 2 * self._largest / flow.weight)
            if not left_out:
                flow.clock = self._now

    def _deadline(self, name: str, seconds: float, had: float) -> float:
        flow = self._flows[name]
        return flow.clock + (had + seconds) / flow.weight
