"""The order: who waits, who holds which slot, and what happens next.

This is the heart, and it is synchronous: every method says what happened at `now` and leaves the books right. Whoever
drives it (`owner`) calls `grant` until it returns None after anything that may have made room, and again when
`endpoints.reopening()` has come.

What it promises (`tests/unit/gateway/admission/test_order.py`):

- Nothing is lost and nothing granted twice: a ticket that was offered waits, or holds one grant, or has left.
- No endpoint is given more than its slots; no slot stays free that somebody waits for. Work of class `batch` keeps no
  interactive ticket from a slot (`endpoints`).
- The order is that of `lines`: fair by cost, and nobody starves. Who is put back is next.
- A grant of another epoch, or one that was settled, changes nothing.

An order does not outlive its owner. The next one makes it anew from what the replicas announce: who waits (`restore`)
and who holds a slot (`adopt`). What it cannot know is forgotten: whose turn it was among the tenants, and the rate.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from bowerbird.contracts import WorkClass
from bowerbird.gateway.admission.bounds import Amount, Bounds, Occupancy
from bowerbird.gateway.admission.endpoints import Endpoint, Endpoints, Pauses
from bowerbird.gateway.admission.estimate import Progress, ServiceRate, units_until_a_slot
from bowerbird.gateway.admission.lines import Lines
from bowerbird.gateway.admission.ticket import NOBODY, Ahead, Grant, Place, PutBack, Ticket

FULL_PAUSE_SECONDS = 1.0
EARLIER = -(2**62)
"""Turns that were had under an earlier owner, before all of this one's; among themselves by when the tickets came."""


@dataclass(frozen=True, slots=True)
class _Held:
    """A slot that a ticket holds; `turn` is the number of its first grant, what follows was read at this one."""

    ticket: Ticket
    grant: Grant
    turn: int
    since: float
    saturated_seconds: float
    progress: float
    adopted: bool = False
    """It held the slot before this order was made: nothing was measured of it."""


class Order:
    """One stage's queue and slots; `epoch` is that of the owner who keeps it."""

    def __init__(self, bounds: Bounds | None = None, pauses: Pauses | None = None, epoch: int = 0) -> None:
        self.endpoints = Endpoints(pauses)
        self._epoch = epoch
        self._lines = Lines()
        self._occupancy = Occupancy(bounds or Bounds())
        self._waiting: dict[str, Ticket] = {}
        self._turns: dict[str, int] = {}
        self._held: dict[str, _Held] = {}
        self._of_work: dict[str, str] = {}
        self._grants = 0
        self._rate = ServiceRate()
        self._progress = Progress()

    # --------------------------------------------------------------------------------------------------- who waits

    def offer(self, ticket: Ticket) -> None:
        """It waits from now on; raises QueueFull, or TenantQueueFull, saying when to come back."""
        if excess := self._occupancy.excess(ticket):
            raise excess.refusal(self._seconds_to_empty(ticket if excess.of_tenant else None))
        self._lines.add(ticket)
        self._enter(ticket)

    def restore(self, ticket: Ticket, had_turn: bool) -> None:
        """It waited under an earlier owner, and still does: it was admitted then, so no bound refuses it now."""
        if had_turn:
            self._turns[ticket.id] = turn_of(ticket)
            self._lines.put_back(ticket, turn_of(ticket))
        else:
            self._lines.restore(ticket)
        self._enter(ticket)

    def leave(self, ticket_id: str, now: float) -> None:
        """Nobody wants it any more, whether it waits or holds a slot; harmless when it has left already."""
        if held := self._held.get(ticket_id):
            self.settle(held.grant, now, finished=False)
        else:
            self.withdraw(ticket_id)

    def withdraw(self, ticket_id: str) -> None:
        """It waits no longer; nothing changes for one that holds a slot."""
        if ticket := self._waiting.get(ticket_id):
            self._lines.remove(ticket)
            self._turns.pop(ticket_id, None)
            self._exit(ticket)

    # --------------------------------------------------------------------------------------------- who has a slot

    def grant(self, now: float) -> Grant | None:
        """The next slot, if there is one and somebody waits for it."""
        endpoint, ticket = self._next(now)
        if endpoint is None or ticket is None:
            self._rate.saturated(bool(self._waiting and self._held), now)
            return None
        self._lines.take(ticket)
        self._exit(ticket)
        return self._give(ticket, endpoint, self._turns.pop(ticket.id, self._grants + 1), now)

    def adopt(self, ticket: Ticket, url: str, now: float) -> Grant:
        """It holds a slot there by an earlier owner's word, and goes on holding it by this one's, full or not."""
        grant = self._give(ticket, self.endpoints.known(url), turn_of(ticket), now)
        self._held[ticket.id] = replace(self._held[ticket.id], adopted=True)
        return grant

    def held(self, ticket_id: str) -> Grant | None:
        """The grant by which a ticket holds a slot now."""
        held = self._held.get(ticket_id)
        return held.grant if held else None

    def settle(self, grant: Grant, now: float, finished: bool) -> bool:
        """The slot is free again; `finished` when what it was given for was computed. False: it is no grant of ours."""
        held = self._pop(grant, now)
        if held is None:
            return False
        if finished and not held.adopted and not self._is_overtaken(held):
            saturated_seconds = self._rate.saturated_seconds(now) - held.saturated_seconds
            self._rate.finished(held.ticket.cost, now - held.since, saturated_seconds)
        self.endpoints.give_back(grant.endpoint, finished, held.ticket.work_class)
        return True

    def put_back(self, grant: Grant, why: PutBack, now: float, pause_seconds: float = FULL_PAUSE_SECONDS) -> bool:
        """It could not be served there, and is next; a full endpoint is asked again after `pause_seconds`."""
        held = self._pop(grant, now)
        if held is None:
            return False
        if why is PutBack.FULL:
            self.endpoints.full(grant.endpoint, now, pause_seconds, held.ticket.work_class)
        elif why is PutBack.LOST:
            self.endpoints.lost(grant.endpoint, now, held.ticket.work_class)
        else:
            self.endpoints.give_back(grant.endpoint, finished=False, work_class=held.ticket.work_class)
        self._turns[grant.ticket_id] = held.turn
        self._lines.put_back(held.ticket, held.turn)
        self._enter(held.ticket)
        return True

    # ------------------------------------------------------------------------------------------ what one is told

    @property
    def waiting(self) -> int:
        """How many tickets wait."""
        return len(self._waiting)

    @property
    def holding(self) -> int:
        """How many hold a slot."""
        return len(self._held)

    def left(self, tenant: str, part: float | None = None) -> Amount:
        """What the tenant may still send (`Occupancy.left`)."""
        return self._occupancy.left(tenant, part)

    def foresee(self, ticket: Ticket, ahead: Ahead, now: float) -> Place | None:
        """Where the work waits whose id this ticket has, whoever offered it; None when it has a slot.

        If it does neither: where it would stand if the ticket were offered when those have been that are `ahead`.
        """
        its = self._of_work.get(ticket.id)
        if its is None:
            return self.place(ticket, now, ahead)
        return self.place(self._waiting[its], now) if its in self._waiting else None

    def place(self, ticket: Ticket, now: float, ahead: Ahead = NOBODY) -> Place:
        """Where a ticket stands, or would stand if it were offered now, or when those have been that are `ahead`."""
        count, units = self._lines.ahead_of(ticket, ahead)
        rate, slots = self._rate_of_slot(), self.endpoints.slots
        if not slots or not rate:
            return Place(count + 1, None)
        progress = self._progress_at(now)
        before = [each for each in self._held.values() if ticket.work_class is WorkClass.BATCH or not _is_batch(each)]
        remaining = [max(0.0, each.ticket.cost - (progress - each.progress)) for each in before]
        return Place(count + 1, units_until_a_slot(remaining, slots, count, units) / rate)

    @property
    def unit_seconds(self) -> float:
        """How long a slot computes one unit while every slot is taken; 0 where that is not known."""
        rate = self._rate_of_slot()
        return 1 / rate if rate else 0.0

    def _rate_of_slot(self) -> float | None:
        stated, slots = self.endpoints.units_per_second, self.endpoints.slots
        return self._rate.of_slot(stated / slots if stated and slots else None)

    def _seconds_to_empty(self, ticket: Ticket | None) -> float | None:
        """Until all that wait now are granted; those of the ticket's tenant, by its share, where one is given."""
        rate, slots = self._rate_of_slot(), self.endpoints.slots
        if not rate or not slots:
            return None
        if ticket is None:
            return self._occupancy.units() / (rate * slots)
        return self._occupancy.units(ticket.tenant) / (rate * slots * self._lines.share_of(ticket))

    # ------------------------------------------------------------------------------------------------- the books

    def _next(self, now: float) -> tuple[Endpoint | None, Ticket | None]:
        """Who is given what, if there is both; where only interactive work has room, the first of that."""
        if self.endpoints.least_loaded(now, WorkClass.BATCH) is None:
            endpoint = self.endpoints.least_loaded(now)
            return endpoint, self._lines.first(WorkClass.INTERACTIVE) if endpoint else None
        ticket = self._lines.first()
        return (None, None) if ticket is None else (self.endpoints.least_loaded(now, ticket.work_class), ticket)

    def _is_overtaken(self, held: _Held) -> bool:
        """Whether others were computed meanwhile, so that it says nothing about how long its own computing took."""
        return _is_batch(held) and any(not _is_batch(each) for each in self._held.values())

    def _give(self, ticket: Ticket, endpoint: Endpoint, turn: int, now: float) -> Grant:
        readings = now, self._rate.saturated_seconds(now), self._progress_at(now)
        self.endpoints.take(endpoint, ticket.work_class)
        self._grants += 1
        grant = Grant(ticket.id, endpoint.url, self._epoch, self._grants)
        self._held[ticket.id] = _Held(ticket, grant, turn, *readings)
        self._name(ticket)
        return grant

    def _enter(self, ticket: Ticket) -> None:
        self._waiting[ticket.id] = ticket
        self._occupancy.add(ticket)
        self._name(ticket)

    def _exit(self, ticket: Ticket) -> None:
        del self._waiting[ticket.id]
        self._occupancy.remove(ticket)
        self._forget(ticket)

    def _name(self, ticket: Ticket) -> None:
        """Found by its work from now on; of two tickets of one work, the later is."""
        if work_id := ticket.work_id:
            self._of_work[work_id] = ticket.id

    def _forget(self, ticket: Ticket) -> None:
        if (work_id := ticket.work_id) and self._of_work.get(work_id) == ticket.id:
            del self._of_work[work_id]

    def _pop(self, grant: Grant, now: float) -> _Held | None:
        held = self._held.get(grant.ticket_id)
        if held is None or held.grant != grant:
            return None
        self._progress_at(now)
        self._forget(held.ticket)
        return self._held.pop(grant.ticket_id)

    def _progress_at(self, now: float) -> float:
        """Called before the number of those who hold a slot changes."""
        return self._progress.at(now, self._rate_of_slot() or 0.0, self.endpoints.slots, len(self._held))


def _is_batch(held: _Held) -> bool:
    return held.ticket.work_class is WorkClass.BATCH


def turn_of(ticket: Ticket) -> int:
    """The turn of a ticket that had it under an earlier owner."""
    return EARLIER + round(1000 * ticket.arrived)
