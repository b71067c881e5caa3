"""The owner's end of its followers' connections: for each a seat before the order, and its answers as lines.

A follower that is not heard any more is granted nothing from that moment on: what waits there is announced again when
it comes back, or dies with it. The slots that it holds stay taken for LINGER_SECONDS, since it may be drawing still and
only the connection broke. Who comes back within that time goes on where it was; its seat before is given up only after
it has said what it holds now.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator

from bowerbird.errors import QueueFull
from bowerbird.gateway.admission.owner import Owner, Seat
from bowerbird.gateway.admission.ticket import Grant, Ticket
from bowerbird.gateway.replicas.messages import (
    Announce,
    Beat,
    Foresee,
    Foreseen,
    Granted,
    Leave,
    Left,
    Offer,
    OwnerBeat,
    PutBackAt,
    Refused,
    Renewed,
    Settle,
    Stands,
    Where,
    from_follower,
)
from bowerbird.gateway.replicas.stream import Outbox

LINGER_SECONDS = 2.0
MAX_NONCES = 100_000
"""Connections that are remembered as having been; no owner has seen so many in its time."""


class Followers:
    """All of one owner's."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._sessions: dict[str, Session] = {}
        self._nonces: OrderedDict[str, None] = OrderedDict()
        self.closed = asyncio.Event()
        """The owner owns nothing any more: every connection ends."""

    def is_new(self, nonce: str) -> bool:
        """False for what has opened a connection before: somebody repeats what was overheard."""
        known = nonce in self._nonces
        self._nonces[nonce] = None
        if len(self._nonces) > MAX_NONCES:
            self._nonces.popitem(last=False)
        return not known

    @property
    def count(self) -> int:
        """How many are connected."""
        return sum(not session.over for session in self._sessions.values())

    def session(self, name: str) -> Session:
        """A connection of the replica of this name; its former one, if there was one, is over."""
        former = self._sessions.get(name)
        if former is not None:
            former.end()
        session = self._sessions[name] = Session(self._owner, former)
        return session

    def part(self, name: str, session: Session) -> None:
        """The connection broke: whatever waits there leaves, and soon the slots are free."""
        session.end()
        if not self.closed.is_set():
            asyncio.get_running_loop().call_later(LINGER_SECONDS, self._forget, name, session)

    def close(self) -> None:
        """Ends every connection."""
        self.closed.set()

    def _forget(self, name: str, session: Session) -> None:
        if self._sessions.get(name) is session:
            del self._sessions[name]
            session.vacate()


class Session:
    """One connection; the `Replica` before whose seat its follower's requests stand."""

    def __init__(self, owner: Owner, former: Session | None) -> None:
        self.seat = Seat(owner, self)
        self.outbox = Outbox(lambda: OwnerBeat(unit_seconds=owner.order.unit_seconds))
        self.over = False
        self._owner = owner
        self._former = former
        """What it held before is given up when this one has said what it holds."""
        self._tickets: dict[str, Ticket] = {}

    def end(self) -> None:
        """It is not heard any more."""
        if not self.over:
            self.over = True
            self._owner.part(self.seat)

    def vacate(self) -> None:
        """The follower is gone, and with it all that it asked for, here and on connections before this one."""
        self._owner.vacate(self.seat)
        former, self._former = self._former, None
        if former is not None:
            former.vacate()

    async def listen(self, lines: AsyncIterator[bytes]) -> None:
        """Does what the follower asks, until it says nothing any more; ValidationError is for what is no message."""
        async for line in lines:
            if self.over:
                return
            await self._hear(line)

    async def _hear(self, line: bytes) -> None:
        match from_follower.validate_json(line):
            case Announce() as announced:
                self._announce(announced)
            case Offer(ticket=facts):
                self._offer(facts.ticket(time.monotonic()))
            case Leave(ticket_id=ticket_id):
                self._tickets.pop(ticket_id, None)
                self.seat.leave(ticket_id)
            case Settle(grant=grant):
                self._tickets.pop(grant.ticket_id, None)
                self.seat.settle(grant)
            case PutBackAt(grant=grant, why=why, pause_seconds=pause_seconds):
                self.seat.put_back(grant, why, pause_seconds)
            case Where() | Foresee() as asked:
                await self._say_where(asked)
            case Beat():
                pass

    def granted(self, grant: Grant) -> None:
        """See `Replica`."""
        self.outbox.put(Granted(grant=grant, left=self._left_of(self._tickets[grant.ticket_id])))

    def renewed(self, grant: Grant) -> None:
        """See `Replica`."""
        self.outbox.put(Renewed(grant=grant))

    def refused(self, ticket_id: str, refusal: QueueFull) -> None:
        """See `Replica`."""
        self.outbox.put(Refused.of(ticket_id, refusal, self._left_of(self._tickets.pop(ticket_id)).amount()))

    def _announce(self, announced: Announce) -> None:
        standings = announced.read(time.monotonic())
        self._tickets.update({each.ticket.id: each.ticket for each in standings})
        self._owner.announce(self.seat, standings)
        former, self._former = self._former, None
        if former is not None:
            former.vacate()

    def _offer(self, ticket: Ticket) -> None:
        self._tickets[ticket.id] = ticket
        try:
            self.seat.offer(ticket)
        except QueueFull as refusal:
            self.refused(ticket.id, refusal)

    async def _say_where(self, asked: Where | Foresee) -> None:
        if isinstance(asked, Foresee):
            foreseen = await self.seat.foresee(asked.ticket.ticket(time.monotonic()), asked.ahead)
            self.outbox.put(Foreseen.of(asked.ticket.id, foreseen))
        elif ticket := self._tickets.get(asked.ticket_id):
            place = await self.seat.forecast(ticket)
            self.outbox.put(Stands(ticket_id=ticket.id, position=place.position, eta_seconds=place.eta_seconds))

    def _left_of(self, ticket: Ticket) -> Left:
        return Left.of(self.seat.left(ticket.tenant, ticket.queue_part))
