"""Nobody keeps the order: the owner is gone, and who follows is not known yet.

Who waits goes on waiting, within its own time; who has a slot goes on drawing. New tickets are taken in as far as this
process may hold them alone. That lasts for seconds (`gateway/replicas/election`); then everything is announced to the
new owner, who refuses none of it.
"""

from __future__ import annotations

from collections.abc import Sequence

from bowerbird.gateway.admission.bounds import Amount, Bounds, Occupancy
from bowerbird.gateway.admission.ticket import Ahead, Grant, Place, PutBack, Standing, Ticket


class Interregnum:
    """The keeper that grants nothing."""

    def __init__(self, bounds: Bounds) -> None:
        self._occupancy = Occupancy(bounds)
        self._waiting: dict[str, Ticket] = {}

    def announce(self, standings: Sequence[Standing]) -> None:
        """Counts those who wait."""
        for each in standings:
            if each.grant is None:
                self._add(each.ticket)

    def offer(self, ticket: Ticket) -> None:
        """Raises QueueFull, or TenantQueueFull, for more than may wait in all."""
        if excess := self._occupancy.excess(ticket):
            raise excess.refusal(None)
        self._add(ticket)

    def leave(self, ticket_id: str) -> None:
        """It is not counted any more."""
        if ticket := self._waiting.pop(ticket_id, None):
            self._occupancy.remove(ticket)

    def settle(self, grant: Grant) -> None:
        """Nothing: no slot is given to anybody else meanwhile."""

    def put_back(self, grant: Grant, why: PutBack, pause_seconds: float) -> None:
        """Nothing: the front knows, and announces it."""

    async def forecast(self, ticket: Ticket) -> Place:
        """After all that came here before it; there is nothing that could be waited for."""
        return Place(1 + sum(each.arrived < ticket.arrived for each in self._waiting.values()), None)

    async def foresee(self, ticket: Ticket, ahead: Ahead) -> Place:
        """As far as this process alone knows: after all that wait here, where it does not."""
        its = next((each for each in self._waiting.values() if each.work_id == ticket.id), ticket)
        place = await self.forecast(its)
        return place if its is not ticket else Place(place.position + ahead.count + ahead.others, None)

    def unit_seconds(self) -> float:
        """Not known."""
        return 0.0

    def left(self, tenant: str, part: float | None) -> Amount:
        """What this process alone would take."""
        return self._occupancy.left(tenant, part)

    def _add(self, ticket: Ticket) -> None:
        self._waiting[ticket.id] = ticket
        self._occupancy.add(ticket)
