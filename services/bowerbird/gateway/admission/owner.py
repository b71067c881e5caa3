"""The owner: an order with a clock, and the seats of those who ask it.

    owner = Owner(Order(...))
    keeper = owner.seat(replica)        a `Keeper`; its grants go to `replica`

One process alone has one seat, its own. Where several replicas share one order, each of the others has a seat behind
its connection (`gateway/replicas/followers`), and `may_grant` says at each single grant whether the right to grant
still holds: a process that was paused, and wakes up after its time, grants nothing before it has looked.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from bowerbird.gateway.admission.bounds import Amount
from bowerbird.gateway.admission.keeper import Replica
from bowerbird.gateway.admission.order import Order
from bowerbird.gateway.admission.ticket import Ahead, Grant, Place, PutBack, Standing, Ticket


class Owner:
    """Keeps the order for the seats, on one event loop."""

    def __init__(self, order: Order, may_grant: Callable[[], bool] = lambda: True) -> None:
        self.order = order
        self._may_grant = may_grant
        self._seats: dict[str, Seat] = {}
        self._alarm: asyncio.TimerHandle | None = None

    def seat(self, replica: Replica) -> Seat:
        """A place for a replica to ask from."""
        return Seat(self, replica)

    def seen_ready(self, url: str, slots: int, unit_seconds: float | None) -> None:
        """A look found this endpoint ready; that is also the probe of one that was ejected."""
        self.order.endpoints.seen_ready(url, slots, unit_seconds, time.monotonic())
        self.dispatch()

    def seen_away(self, url: str) -> None:
        """A look found this endpoint not ready, or did not find it."""
        self.order.endpoints.seen_away(url)

    def seen_gone(self, url: str) -> None:
        """This endpoint will not come back; what it computes may still end well."""
        self.order.endpoints.seen_gone(url)

    def dispatch(self) -> None:
        """Grants every slot that is free, and comes back when an endpoint that was full may be asked again."""
        now = time.monotonic()
        while self._may_grant() and (grant := self.order.grant(now)):
            self._seats[grant.ticket_id].replica.granted(grant)
        self._cancel_alarm()
        reopening = self.order.endpoints.reopening()
        if reopening is not None and self.order.waiting and self._may_grant():
            self._alarm = asyncio.get_running_loop().call_later(max(0.0, reopening - now), self.dispatch)

    def close(self) -> None:
        """Grants nothing any more, whatever is still asked."""
        self._may_grant = lambda: False
        self._cancel_alarm()

    def announce(self, seat: Seat, standings: Sequence[Standing]) -> None:
        """Makes the order anew as far as one replica knows it; what it has on another seat moves to this one."""
        for each in standings:
            self._stand(seat, each)
        self.dispatch()

    def offer(self, seat: Seat, ticket: Ticket) -> None:
        """It waits from now on; raises QueueFull, or TenantQueueFull, saying when to come back."""
        self.order.offer(ticket)
        self._seats[ticket.id] = seat
        self.dispatch()

    def leave(self, ticket_id: str) -> None:
        """Nobody wants it any more, whether it waits or holds a slot."""
        self._seats.pop(ticket_id, None)
        self.order.leave(ticket_id, time.monotonic())
        self.dispatch()

    def settle(self, grant: Grant) -> None:
        """The slot is free again, its work finished."""
        grant = self._present(grant)
        if self.order.settle(grant, time.monotonic(), finished=True):
            self._seats.pop(grant.ticket_id, None)
            self.dispatch()

    def put_back(self, grant: Grant, why: PutBack, pause_seconds: float) -> None:
        """The grant's ticket is next again."""
        if self.order.put_back(self._present(grant), why, time.monotonic(), pause_seconds):
            self.dispatch()

    def part(self, seat: Seat) -> None:
        """A replica is not heard any more: nothing is granted to it; the slots that it holds stay taken."""
        for ticket_id in self._of(seat):
            self.order.withdraw(ticket_id)

    def vacate(self, seat: Seat) -> None:
        """A replica is gone, and with it all that it asked for."""
        for ticket_id in self._of(seat):
            del self._seats[ticket_id]
            self.order.leave(ticket_id, time.monotonic())
        self.dispatch()

    def _stand(self, seat: Seat, standing: Standing) -> None:
        ticket, grant, now = standing.ticket, standing.grant, time.monotonic()
        self._seats[ticket.id] = seat
        if grant is not None and self.order.held(ticket.id) == grant:
            return  # this owner's own grant; only the connection was another
        self.order.leave(ticket.id, now)  # a slot that it was granted and never told of
        if grant is None:
            self.order.restore(ticket, standing.had_turn)
        else:
            seat.replica.renewed(self.order.adopt(ticket, grant.endpoint, now))

    def _present(self, grant: Grant) -> Grant:
        """The grant as this owner renewed it, where the replica had not heard of that."""
        held = self.order.held(grant.ticket_id)
        renewed = held is not None and held.epoch > grant.epoch and held.endpoint == grant.endpoint
        return held if held is not None and renewed else grant

    def _of(self, seat: Seat) -> list[str]:
        return [ticket_id for ticket_id, its in self._seats.items() if its is seat]

    def _cancel_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None


class Seat:
    """One replica before the owner: a `Keeper` in the same process."""

    def __init__(self, owner: Owner, replica: Replica) -> None:
        self.replica = replica
        self._owner = owner

    def announce(self, standings: Sequence[Standing]) -> None:
        """See `Keeper`."""
        self._owner.announce(self, standings)

    def offer(self, ticket: Ticket) -> None:
        """Raises QueueFull, or TenantQueueFull."""
        self._owner.offer(self, ticket)

    def leave(self, ticket_id: str) -> None:
        """See `Keeper`."""
        self._owner.leave(ticket_id)

    def settle(self, grant: Grant) -> None:
        """See `Keeper`."""
        self._owner.settle(grant)

    def put_back(self, grant: Grant, why: PutBack, pause_seconds: float) -> None:
        """See `Keeper`."""
        self._owner.put_back(grant, why, pause_seconds)

    async def forecast(self, ticket: Ticket) -> Place:
        """Where the ticket stands, or would stand if it were offered now."""
        return self._owner.order.place(ticket, time.monotonic())

    async def foresee(self, ticket: Ticket, ahead: Ahead) -> Place | None:
        """See `Keeper`."""
        return self._owner.order.foresee(ticket, ahead, time.monotonic())

    def unit_seconds(self) -> float:
        """See `Keeper`."""
        return self._owner.order.unit_seconds

    def left(self, tenant: str, part: float | None) -> Amount:
        """See `Keeper`."""
        return self._owner.order.left(tenant, part)
