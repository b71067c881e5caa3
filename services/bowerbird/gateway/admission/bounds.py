"""How much may wait. Beyond it the caller is told so at once: a refusal that says when to come back is an answer, a
queue that grows until memory ends is none.

Three amounts are bounded: requests (each has a connection and a task), compute units (how long the queue is in time)
and bytes (what the requests hold in memory). Each is bounded in all, and for one tenant by a part of that, so that a
tenant that floods the gateway fills its own part and not the queue. What was admitted once is not refused later: a
ticket that is put back counts, but is not checked. What was accepted before it came (a job, a line of a batch) neither
counts nor is checked: no more of it waits than the gateways have hands for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from bowerbird.errors import QueueFull, TenantQueueFull
from bowerbird.gateway.admission.ticket import Ticket

LONGEST_RETRY_SECONDS = 3600
UNKNOWN_RETRY_SECONDS = 5
"""When nothing was measured that the queue's length could be divided by."""


@dataclass(slots=True)
class Amount:
    """What some tickets are together."""

    requests: int = 0
    units: float = 0.0
    held_bytes: int = 0

    def add(self, ticket: Ticket, sign: int = 1) -> None:
        """With the ticket; without it when `sign` is -1."""
        self.requests += sign
        self.units = self.units + sign * ticket.cost if self.requests else 0.0
        self.held_bytes += sign * ticket.held_bytes


@dataclass(frozen=True, slots=True)
class Bounds:
    """The most that may wait in all; one tenant may have `tenant_part` of each."""

    requests: int = 1024
    units: float = 200_000.0
    held_bytes: int = 80 * 1024 * 1024
    tenant_part: float = 0.25


@dataclass(frozen=True, slots=True)
class Excess:
    """A bound that a ticket does not fit below, and what part of those who wait must go first."""

    amount: str
    bound: float
    part: float
    of_tenant: bool

    def refusal(self, seconds: float | None) -> QueueFull:
        """The answer, when those who wait will be gone in `seconds`; None where that is not known."""
        whose, kind = ("Your part of the queue", TenantQueueFull) if self.of_tenant else ("The queue", QueueFull)
        retry_after = UNKNOWN_RETRY_SECONDS if seconds is None else self.part * seconds
        fact = f"{whose} is full: it holds at most {self.bound:g} {self.amount}."
        return kind(
            fact, retry_after_seconds=min(max(1, math.ceil(retry_after)), LONGEST_RETRY_SECONDS), details=self._details
        )

    @property
    def _details(self) -> dict[str, object]:
        return {"bound": self.amount.replace(" ", "_"), "limit": self.bound}


@dataclass(slots=True)
class Occupancy:
    """What waits, in all and by tenant; what was accepted apart from it."""

    bounds: Bounds
    all: Amount = field(default_factory=Amount)
    tenants: dict[str, Amount] = field(default_factory=dict)
    accepted: dict[str, Amount] = field(default_factory=dict)

    def add(self, ticket: Ticket) -> None:
        """It waits."""
        if not ticket.accepted:
            self.all.add(ticket)
        self._those_of(ticket).setdefault(ticket.tenant, Amount()).add(ticket)

    def remove(self, ticket: Ticket) -> None:
        """It waits no more."""
        if not ticket.accepted:
            self.all.add(ticket, -1)
        tenants = self._those_of(ticket)
        tenants[ticket.tenant].add(ticket, -1)
        if not tenants[ticket.tenant].requests:
            del tenants[ticket.tenant]

    def units(self, tenant: str | None = None) -> float:
        """What all that waits will be computed with, or all of one tenant: what was accepted, too."""
        if tenant is None:
            return self.all.units + sum(each.units for each in self.accepted.values())
        return sum(amounts[tenant].units for amounts in (self.tenants, self.accepted) if tenant in amounts)

    def excess(self, ticket: Ticket) -> Excess | None:
        """The first bound that the ticket does not fit below, the tenant's before all others'.

        One request may always wait, however much it is, where nobody else does: else it could never be drawn.
        """
        if ticket.accepted:
            return None
        own, part = self.tenants.get(ticket.tenant, Amount()), ticket.queue_part or self.bounds.tenant_part
        return self._above(own, ticket, part) or self._above(self.all, ticket, 1.0)

    def left(self, tenant: str, part: float | None = None) -> Amount:
        """What the tenant may still send, when it may fill `part` of the queue; None: what the bounds say."""
        own, whole, bounds = self.tenants.get(tenant, Amount()), self.all, self.bounds
        part = part or bounds.tenant_part
        return Amount(
            max(0, min(math.floor(bounds.requests * part) - own.requests, bounds.requests - whole.requests)),
            max(0.0, min(bounds.units * part - own.units, bounds.units - whole.units)),
            max(0, min(math.floor(bounds.held_bytes * part) - own.held_bytes, bounds.held_bytes - whole.held_bytes)),
        )

    def _those_of(self, ticket: Ticket) -> dict[str, Amount]:
        return self.accepted if ticket.accepted else self.tenants

    def _above(self, waiting: Amount, ticket: Ticket, part: float) -> Excess | None:
        if not waiting.requests:
            return None
        bounds = self.bounds
        for amount, has, more, bound in (
            ("requests", waiting.requests, 1, math.floor(bounds.requests * part)),
            ("compute units", waiting.units, ticket.cost, bounds.units * part),
            ("bytes", waiting.held_bytes, ticket.held_bytes, math.floor(bounds.held_bytes * part)),
        ):
            if has + more > bound:
                return Excess(amount, bound, min(1.0, (has + more - bound) / has) if has else 1.0, part < 1)
        return None
