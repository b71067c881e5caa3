"""The queue: a line for each tenant in each class, first come first served within a line.

Two fair shares, one inside the other, say which line is next. Between classes, `interactive` has nine times the weight
of `batch`: whoever waits at a screen goes first, and a batch still gets a tenth of everything, so that it ends. Within
a class, tenants share by their weights. A class or tenant that does not wait leaves its part to the others.

Before all lines stands who was put back: it has been charged for already and had its turn, only the slot was not there.
It is charged no second time, and nobody overtakes it but those who were put back and had their turn before it. There
are never more of them than slots, so that they hold nobody up for long.
"""

from __future__ import annotations

import math
from bisect import insort
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from bowerbird.contracts import WorkClass
from bowerbird.gateway.admission.fair_share import FairShare
from bowerbird.gateway.admission.ticket import NOBODY, Ahead, Ticket

CLASS_WEIGHTS: Mapping[WorkClass, float] = MappingProxyType({WorkClass.INTERACTIVE: 0.9, WorkClass.BATCH: 0.1})

ROUNDING = 1e-6
"""Part of a ticket that is no difference: sums of floats."""


@dataclass(slots=True)
class _Line:
    """One tenant's tickets in one class, in the order in which they came, and what they cost together."""

    weight: float
    tickets: OrderedDict[str, Ticket] = field(default_factory=OrderedDict)
    units: float = 0.0

    @property
    def head(self) -> Ticket:
        return next(iter(self.tickets.values()))


class Lines:
    """Who waits, and who of them is first."""

    def __init__(self) -> None:
        self._lines: dict[WorkClass, dict[str, _Line]] = {each: {} for each in WorkClass}
        self._tenants: dict[WorkClass, FairShare[str]] = {each: FairShare() for each in WorkClass}
        self._classes: FairShare[WorkClass] = FairShare()
        self._put_back: list[tuple[int, str, Ticket]] = []

    def add(self, ticket: Ticket) -> None:
        """To the end of its tenant's line."""
        lines = self._lines[ticket.work_class]
        if not lines:
            self._classes.join(ticket.work_class, CLASS_WEIGHTS[ticket.work_class])
        line = lines.setdefault(ticket.tenant, _Line(ticket.weight))
        self._tenants[ticket.work_class].join(ticket.tenant, ticket.weight)
        line.weight = ticket.weight
        line.tickets[ticket.id] = ticket
        line.units += ticket.cost

    def restore(self, ticket: Ticket) -> None:
        """Into its tenant's line where it stood by the time at which it came."""
        self.add(ticket)
        line = self._lines[ticket.work_class][ticket.tenant]
        later = [each.id for each in line.tickets.values() if each.arrived > ticket.arrived]
        for each in sorted(later, key=lambda name: line.tickets[name].arrived):
            line.tickets.move_to_end(each)

    def put_back(self, ticket: Ticket, turn: int) -> None:
        """Before all lines, among those who had their turn (`turn` counts up) in the order of their turns."""
        insort(self._put_back, (turn, ticket.id, ticket))

    def remove(self, ticket: Ticket) -> None:
        """It waits no longer, wherever it stood."""
        lines = self._lines[ticket.work_class]
        line = lines.get(ticket.tenant)
        if line is None or line.tickets.pop(ticket.id, None) is None:
            self._put_back = [each for each in self._put_back if each[1] != ticket.id]
            return
        if line.tickets:
            line.units = max(line.units - ticket.cost, line.head.cost)  # floats must not add up to nothing
        else:
            del lines[ticket.tenant]
            self._tenants[ticket.work_class].leave(ticket.tenant)
            if not lines:
                self._classes.leave(ticket.work_class)

    def first(self, only: WorkClass | None = None) -> Ticket | None:
        """Who is next, of all or of one class only; None when nobody of them waits."""
        for _, _, ticket in self._put_back:
            if only in (None, ticket.work_class):
                return ticket
        heads = {each: self._first_of(each) for each, lines in self._lines.items() if lines and only in (None, each)}
        return heads[self._classes.first({each: head.cost for each, head in heads.items()})] if heads else None

    def take(self, ticket: Ticket) -> None:
        """It has its turn: charged to its tenant and class, unless it was put back."""
        line = self._lines[ticket.work_class].get(ticket.tenant)
        if line is not None and ticket.id in line.tickets:
            self._classes.charge(ticket.work_class, ticket.cost)
            self._tenants[ticket.work_class].charge(ticket.tenant, ticket.cost)
        self.remove(ticket)

    def ahead_of(self, ticket: Ticket, ahead: Ahead = NOBODY) -> tuple[int, float]:
        """How many tickets will be granted before this one, and what they cost, if nobody comes any more.

        The ticket may be one that waits or one that would come now, or when those have come that are `ahead` of it; of
        these the ones in its own line are as if they waited there, and the others all go before it. It is due when
        its own line has been granted what stands before it and its own cost; every other line will have had by then
        what its clock and weight say, in tickets of its mean cost. So it is between the classes, but that of two the
        lighter one is served when its turn begins and not when it is due, since the other is then in debt.
        """
        count, units = 0, 0.0
        for _, _, each in self._put_back:
            if each.id == ticket.id:
                return count, units
            count, units = count + 1, units + each.cost
        in_lines = self._ahead_in_lines(ticket, ahead)
        return count + in_lines[0] + ahead.others, units + in_lines[1] + ahead.others_units

    def share_of(self, ticket: Ticket) -> float:
        """What part of everything the ticket's line gets, or would get with this ticket in it; above 0, at most 1."""
        classes = [each for each, lines in self._lines.items() if lines or each is ticket.work_class]
        lines = self._lines[ticket.work_class]
        weights = sum(line.weight for tenant, line in lines.items() if tenant != ticket.tenant) + ticket.weight
        of_class = CLASS_WEIGHTS[ticket.work_class] / sum(CLASS_WEIGHTS[each] for each in classes)
        return of_class * ticket.weight / weights

    def _ahead_in_lines(self, ticket: Ticket, ahead: Ahead) -> tuple[int, float]:
        lines, tenants = self._lines[ticket.work_class], self._tenants[ticket.work_class]
        count, units = _before(ticket, lines.get(ticket.tenant))
        count, units = count + ahead.count, units + ahead.units
        due = tenants.due(ticket.tenant, ticket.weight, units + ticket.cost)
        for tenant, line in lines.items():
            if tenant != ticket.tenant:
                more = _whole(tenants.granted_by(tenant, due), len(line.tickets), line.units)
                count, units = count + more[0], units + more[1]
        due = self._classes.due(ticket.work_class, CLASS_WEIGHTS[ticket.work_class], units)
        for other, of_other in self._lines.items():
            if other is not ticket.work_class and of_other:
                waiting = sum(len(line.tickets) for line in of_other.values())
                cost = sum(line.units for line in of_other.values())
                more = _whole(self._classes.granted_by(other, due), waiting, cost)
                count, units = count + more[0], units + more[1]
        return count, units

    def _first_of(self, work_class: WorkClass) -> Ticket:
        lines = self._lines[work_class]
        return lines[self._tenants[work_class].first({name: line.head.cost for name, line in lines.items()})].head


def _before(ticket: Ticket, line: _Line | None) -> tuple[int, float]:
    """What stands before the ticket in its own line; all of it when the ticket is not there yet."""
    count, units = 0, 0.0
    for each in line.tickets.values() if line else ():
        if each.id == ticket.id:
            break
        count, units = count + 1, units + each.cost
    return count, units


def _whole(granted: float, count: int, units: float) -> tuple[int, float]:
    """How many of `count` tickets that cost `units` together fit into what is granted, and what those cost."""
    fit = min(count, math.floor(granted * count / units + ROUNDING))
    return fit, units * fit / count
