"""Whose turn is it? Deficit round robin, with a quantum that is infinitely small.

Tenants take turns, but their requests cost very different amounts: one picture of four steps, twenty of fifty. Deficit
round robin (Shreedhar and Varghese, "Efficient Fair Queueing Using Deficit Round Robin", SIGCOMM 1995) is fair by cost:
each turn credits a tenant a quantum in proportion to its weight, requests are served while the credit lasts, and what
is left, the deficit, is carried to the next turn. What two tenants that both wait are given, divided by their weights,
never differs by more than 2 Max + Q: Max is the largest cost, and Q, the lightest one's quantum, should not be below
Max, or turns pass in which it is served nothing. So: three times the largest request.

That bound is one of the lightest tenant's. Beside a hundred tenants of weight 1, one of weight 100 is credited 100 Max
in a turn and then waits for 100 Max of the others; requests here take seconds, so this is minutes. Therefore the
quantum shrinks to nothing and only the account is kept: of every unit that is granted, each waiting tenant is credited
its weight's share at once, and the one that was granted is debited the cost. Among tenants that are not in debt, the
one goes first whose request would be finished earliest if it had its share all to itself (the rule of Stoica and
Abdel-Wahab, "Earliest Eligible Virtual Deadline First", 1995, and of WF2Q, Bennett and Zhang, 1996). Whatever the
weights, a tenant that waits gets its share of any window, give or take three times the largest cost
(`tests/unit/gateway/admission/test_fair_share.py`).

Credits are not booked one by one. A clock of the whole, `now`, runs at cost / (sum of the waiting weights), a tenant's
own at cost / weight: a tenant behind `now` has credit, one ahead of it is in debt.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

Name = TypeVar("Name")

EQUAL = 1e-9
"""Part of `now` that is no difference: sums of floats."""


@dataclass(slots=True)
class _Account:
    weight: float
    clock: float
    waits: bool


class FairShare(Generic[Name]):
    """The accounts of those who share; a name is a tenant, or a class."""

    def __init__(self) -> None:
        self._now = 0.0
        self._accounts: dict[Name, _Account] = {}

    def join(self, name: Name, weight: float) -> None:
        """It waits from now on, with this weight; it brings no credit along, but its debt."""
        account = self._accounts.setdefault(name, _Account(weight, self._now, waits=False))
        if not account.waits:
            account.clock = max(account.clock, self._now)
        account.weight, account.waits = weight, True

    def leave(self, name: Name) -> None:
        """It has nothing left to wait with. When nobody waits, all debts are forgotten: they kept nobody waiting."""
        self._accounts[name].waits = False
        if not any(account.waits for account in self._accounts.values()):
            self._accounts.clear()

    def first(self, costs: Mapping[Name, float]) -> Name:
        """Whose turn it is; `costs` has what each of those who wait would be granted."""
        waiting = {name: self._accounts[name] for name in costs}
        self._now = max(self._now, min(account.clock for account in waiting.values()))
        latest = self._now + EQUAL * max(1.0, self._now)
        ends = {
            name: account.clock + costs[name] / account.weight
            for name, account in waiting.items()
            if account.clock <= latest
        }
        return min(ends, key=ends.__getitem__)

    def charge(self, name: Name, cost: float) -> None:
        """It was granted `cost` while all that wait now were waiting."""
        self._now += cost / self.weights()
        self._accounts[name].clock += cost / self._accounts[name].weight
        paid = [each for each, account in self._accounts.items() if not account.waits and account.clock <= self._now]
        for each in paid:
            del self._accounts[each]

    def due(self, name: Name, weight: float, units: float) -> float:
        """When, on the clocks, it will have been granted `units`; also of one that does not wait, were it to join."""
        account = self._accounts.get(name)
        clock = self._now if account is None else account.clock if account.waits else max(account.clock, self._now)
        return clock + units / weight

    def granted_by(self, name: Name, due: float) -> float:
        """What one that waits will have been granted before whoever is `due` then."""
        account = self._accounts[name]
        return max(0.0, (due - account.clock) * account.weight)

    def weights(self) -> float:
        """The sum over those who wait."""
        return sum(account.weight for account in self._accounts.values() if account.waits)
