"""The front of the queue for asyncio: whoever wants a slot waits for it here, whoever keeps the order.

    async with admission.place(ticket, tell) as turn:      raises QueueFull
        grant = await turn.grant()                         raises QueueFull, QueueTimeout; tells its Place meanwhile
        ...                                                draw at grant.endpoint
        turn.finished()                                    the slot is free; or put_back(...), and grant() again

However the block is left, by a result, an error, a cancelled task or a deadline, the ticket leaves the order: it waits
no longer and holds no slot. So a request that nobody waits for takes nothing with it.

The turns of this process are the truth about its tickets. When another keeper takes over, everything that is
outstanding is announced to it, and whoever waits here or draws notices nothing. In a process that stops they wait on
and draw as long as it lasts; who cannot be finished in that time is sent elsewhere while there is time to say so.

Endpoints are reported by whoever looks at them (`stages`): `seen_ready`, `seen_away`, `seen_gone`. The looks of the
process that keeps the order count; the others' are ready for the day on which they keep it.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from bowerbird.errors import BowerbirdError, GatewayStopping, QueueFull, QueueTimeout
from bowerbird.gateway.admission.bounds import UNKNOWN_RETRY_SECONDS, Amount, Bounds
from bowerbird.gateway.admission.estimate import Overrun
from bowerbird.gateway.admission.interregnum import Interregnum
from bowerbird.gateway.admission.keeper import Keeper
from bowerbird.gateway.admission.order import FULL_PAUSE_SECONDS, Order
from bowerbird.gateway.admission.owner import Owner
from bowerbird.gateway.admission.ticket import NOBODY, Ahead, Grant, Place, PutBack, Standing, Ticket

TELL_SECONDS = 2.0
"""How often somebody who waits is told its place."""
STOPPING_RETRY_SECONDS = 1
LAST_WORDS_SECONDS = 1.0
"""Before a process ends, everybody who still waits is told so."""

Tell = Callable[[Place], None]


@dataclass(frozen=True, slots=True)
class _Look:
    """An endpoint that is ready."""

    slots: int
    unit_seconds: float | None


class Admission:
    """One stage's queue and slots, for the tasks of one event loop; a `Replica` to whoever keeps the order."""

    def __init__(self, bounds: Bounds | None = None) -> None:
        self.bounds = bounds or Bounds()
        self.queue = ""
        """The order's name before the stages; none where this process is alone."""
        self.on_doubt: Callable[[], None] = lambda: None
        """Is told when a stage knows of a later owner than the one who granted."""
        self.slots_of_one: int | None = None
        """What an endpoint takes at once, as the last that was seen ready said; None before there was one."""
        self._turns: dict[str, Turn] = {}
        self._looks: dict[str, _Look | None] = {}
        self._owner: Owner | None = None
        self._keeper: Keeper = Interregnum(self.bounds)
        self._overrun = Overrun()
        self._unit_seconds = 0.0
        """As a keeper said last: one that has just begun to keep the order does not know it yet."""
        self._ends_at = math.inf

    @classmethod
    def alone(cls, order: Order) -> Admission:
        """Of the only process that asks this order: there is no other keeper, and none is ever waited for."""
        admission = cls()
        admission.keep(Owner(order))
        return admission

    @asynccontextmanager
    async def place(self, ticket: Ticket, tell: Tell | None = None) -> AsyncIterator[Turn]:
        """A place in the queue for as long as the block runs; raises QueueFull, or TenantQueueFull."""
        if not math.isinf(self._ends_at) and time.monotonic() + self._needed_seconds(ticket) >= self._ends_at:
            raise stopping()
        turn = self._turns[ticket.id] = Turn(self, ticket, tell)
        try:
            self._keeper.offer(ticket)
            self._refuse_in_time(turn)
            yield turn
            if turn.granted_at is not None:
                computing = ticket.cost * self._keeper.unit_seconds()
                self._overrun.took(time.monotonic() - turn.granted_at - computing)
        finally:
            del self._turns[ticket.id]
            if turn.close():
                self._keeper.leave(ticket.id)

    def stop(self, seconds: float) -> None:
        """This process ends in so many seconds: who waits is told to go elsewhere when too few are left to compute it,
        and who has a slot keeps it."""
        self._ends_at = time.monotonic() + seconds - LAST_WORDS_SECONDS
        for turn in self._turns.values():
            self._refuse_in_time(turn)

    # ------------------------------------------------------------------------------------------ who keeps the order

    def keep(self, owner: Owner) -> None:
        """The order is kept in this process from now on."""
        self.follow(owner.seat(self))
        self._owner = owner
        for url in self._looks:
            self._report(url)

    def follow(self, keeper: Keeper) -> None:
        """Somebody else keeps the order from now on: hears of everything that is outstanding here."""
        self._owner = None
        self._keeper = keeper
        standings = [turn.standing() for turn in self._turns.values() if turn.outstanding]
        keeper.announce(sorted(standings, key=lambda each: each.ticket.arrived))

    def lose(self) -> None:
        """Nobody keeps the order for now."""
        self.follow(Interregnum(self.bounds))

    # --------------------------------------------------------------------------------------- what the keeper says

    def granted(self, grant: Grant) -> None:
        """See `Replica`."""
        if turn := self._turns.get(grant.ticket_id):
            turn.receive(grant)

    def renewed(self, grant: Grant) -> None:
        """See `Replica`."""
        if turn := self._turns.get(grant.ticket_id):
            turn.renew(grant)

    def refused(self, ticket_id: str, refusal: QueueFull) -> None:
        """See `Replica`."""
        if turn := self._turns.get(ticket_id):
            turn.refuse(refusal)

    # ------------------------------------------------------------------------------------------- what turns ask for

    async def forecast(self, ticket: Ticket) -> Place | None:
        """Where a ticket that waits stands; None where nobody says so."""
        return await self._keeper.forecast(ticket)

    async def foresee(self, ticket: Ticket, ahead: Ahead = NOBODY) -> Place | None:
        """Where the work waits, or would, whose id this ticket has (`Keeper.foresee`)."""
        return await self._keeper.foresee(ticket, ahead)

    def latest_start(self, ticket: Ticket) -> float:
        """Until when waiting makes sense: what is granted later would be computed for nobody, and at others' cost.

        Answers that come late count no more than computing itself: whoever has twice that time is given a chance, and
        shows whether they still do.
        """
        return min(ticket.wait_until, ticket.finish_by - self._needed_seconds(ticket))

    def settle(self, grant: Grant) -> None:
        """The grant's work is finished."""
        self._keeper.settle(grant)

    def put_back(self, grant: Grant, why: PutBack, pause_seconds: float) -> None:
        """The grant's ticket is next again."""
        self._refuse_in_time(self._turns[grant.ticket_id])
        self._keeper.put_back(grant, why, pause_seconds)
        if why is PutBack.STALE:
            self.on_doubt()

    # --------------------------------------------------------------------------------------------- what others ask

    def fence(self, grant: Grant) -> str | None:
        """What a stage is told of a grant's owner, so that it can tell a former one; None where there is none."""
        return f"{self.queue}:{grant.epoch}" if self.queue else None

    def left(self, tenant: str, part: float | None = None) -> Amount:
        """What the tenant may still send; as the owner of the order said last, where that is another process."""
        return self._keeper.left(tenant, part)

    @property
    def order(self) -> Order | None:
        """The order; None where another process keeps it, or nobody does."""
        return None if self._owner is None else self._owner.order

    @property
    def waiting(self) -> int:
        """How many wait in this process."""
        return sum(turn.outstanding and turn.held is None for turn in self._turns.values())

    @property
    def holding(self) -> int:
        """How many in this process hold a slot."""
        return sum(turn.outstanding and turn.held is not None for turn in self._turns.values())

    @property
    def is_first(self) -> bool:
        """Whether exactly one waits or holds a slot; looks at two at most, since every request asks."""
        return len(list(islice((turn for turn in self._turns.values() if turn.outstanding), 2))) == 1

    @property
    def holding_elsewhere(self) -> int:
        """How many of those hold a slot of an endpoint that will not come back."""
        held = [turn.held for turn in self._turns.values() if turn.outstanding and turn.held is not None]
        return sum(grant.endpoint not in self._looks for grant in held)

    @property
    def in_flight(self) -> dict[str, int] | None:
        """What every endpoint has of all replicas; None where another process keeps the order."""
        return None if self.order is None else self.order.endpoints.in_flight

    def seen_ready(self, url: str, slots: int, unit_seconds: float | None) -> None:
        """A look found this endpoint ready."""
        self.slots_of_one = slots
        self._looks[url] = _Look(slots, unit_seconds)
        self._report(url)

    def seen_away(self, url: str) -> None:
        """A look found this endpoint not ready, or did not find it."""
        self._looks[url] = None
        self._report(url)

    def seen_gone(self, url: str) -> None:
        """This endpoint will not come back."""
        self._looks.pop(url, None)
        if self._owner is not None:
            self._owner.seen_gone(url)

    def _needed_seconds(self, ticket: Ticket) -> float:
        self._unit_seconds = self._keeper.unit_seconds() or self._unit_seconds
        computing = ticket.cost * self._unit_seconds
        return computing + min(computing, self._overrun.seconds)

    def _refuse_in_time(self, turn: Turn) -> None:
        if math.isinf(self._ends_at):
            return
        left = self._ends_at - self._needed_seconds(turn.ticket) - time.monotonic()
        if left <= 0:
            turn.refuse(stopping())
        else:
            asyncio.get_running_loop().call_later(left, turn.refuse, stopping())

    def _report(self, url: str) -> None:
        if self._owner is None:
            return
        if look := self._looks[url]:
            self._owner.seen_ready(url, look.slots, look.unit_seconds)
        else:
            self._owner.seen_away(url)


class Turn:
    """One ticket's way through the queue; `Admission.place` makes it."""

    def __init__(self, admission: Admission, ticket: Ticket, tell: Tell | None) -> None:
        self.ticket = ticket
        self.outstanding = True
        """The keeper of the order has something of it: a place or a slot."""
        self.held: Grant | None = None
        """The slot that it has, or had in the end."""
        self.granted_at: float | None = None
        """When it got that slot, on the monotonic clock."""
        self.losses = 0
        """How many endpoints died under it."""
        self.waits_again = False
        """It was put back, and has no slot yet."""
        self._admission = admission
        self._tell = tell
        self._patience = ticket.wait_until - time.monotonic()
        self._granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def grant(self) -> Grant:
        """A slot; raises QueueTimeout when there is none in time. After `put_back` it may be awaited again."""
        try:
            async with asyncio.timeout(max(0.0, self._admission.latest_start(self.ticket) - time.monotonic())):
                await self._wait()
        except TimeoutError as error:
            if not self._granted.done():  # else it came in the same turn of the loop
                raise await self._too_late() from error
        self._granted.result()
        assert self.held is not None  # noqa: S101 - `receive` sets both
        self.waits_again = False
        return self.held

    async def unless_refused(self, work: Coroutine[Any, Any, None]) -> None:
        """Waits for something else than a slot, the ticket in the queue; raises the refusal if that comes first."""
        working = asyncio.create_task(work)
        try:
            await asyncio.wait({working, self._granted}, return_when=asyncio.FIRST_COMPLETED)
            if self._granted.done():
                self._granted.result()
            await working
        finally:
            working.cancel()

    def wait_anew(self) -> None:
        """It may wait for a slot from now on as long as it might in the beginning: until now there was none to have."""
        self.ticket = replace(self.ticket, wait_until=time.monotonic() + self._patience)

    def finished(self) -> None:
        """What the slot was granted for is computed; the slot is free."""
        assert self.held is not None  # noqa: S101 - said after `grant`
        self.outstanding = False
        self._admission.settle(self.held)

    def put_back(self, why: PutBack, pause_seconds: float = FULL_PAUSE_SECONDS) -> None:
        """The endpoint did not serve it: it is next again.

        One that was lost with its endpoint may wait as long as it might in the beginning, for a while has passed; one
        that met a full endpoint has waited all the time.
        """
        self.waits_again = True
        if why is PutBack.LOST:
            self.losses += 1
            self.ticket = replace(self.ticket, wait_until=time.monotonic() + self._patience)
        grant, self.held = self.held, None
        assert grant is not None  # noqa: S101 - said after `grant`
        self._granted = asyncio.get_running_loop().create_future()
        self._admission.put_back(grant, why, pause_seconds)

    # ------------------------------------------------------------------------------------------------ for Admission

    def receive(self, grant: Grant) -> None:
        """The slot is this ticket's."""
        if not self._granted.done():
            self.held, self.granted_at = grant, time.monotonic()
            self._granted.set_result(None)

    def renew(self, grant: Grant) -> None:
        """The slot that it holds is its own by a new grant."""
        if self.held is not None:
            self.held = grant

    def refuse(self, refusal: BowerbirdError) -> None:
        """It gets no slot; nothing changes for one that has it."""
        if not self._granted.done():
            self._granted.set_exception(refusal)

    def standing(self) -> Standing:
        """What a new owner is told of it."""
        return Standing(self.ticket, self.held, self.waits_again)

    def close(self) -> bool:
        """Nobody waits for it any more; True when the keeper should hear so."""
        if not self._granted.cancel() and not self._granted.cancelled():
            self._granted.exception()  # somebody has heard it, or nobody ever will
        outstanding, self.outstanding = self.outstanding, False
        return outstanding

    async def _wait(self) -> None:
        while not self._granted.done():
            if self._tell is not None:
                await self._tell_place(self._tell)
            await asyncio.wait({self._granted}, timeout=None if self._tell is None else TELL_SECONDS)

    async def _tell_place(self, tell: Tell) -> None:
        """Unless its wait is over before that is known: another process may be asked."""
        asking = asyncio.create_task(self._admission.forecast(self.ticket))
        try:
            either: set[asyncio.Future[Any]] = {asking, self._granted}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not self._granted.done() and (place := asking.result()) is not None:
                tell(place)
        finally:
            asking.cancel()

    async def _too_late(self) -> QueueTimeout:
        place = await self._admission.forecast(self.ticket)
        eta = None if place is None else place.eta_seconds
        retry_after = UNKNOWN_RETRY_SECONDS if eta is None else max(1, math.ceil(eta))
        return QueueTimeout(
            "No slot was free early enough; the place in the queue is given up.",
            retry_after_seconds=retry_after,
        )


def stopping() -> GatewayStopping:
    """The fact that this process gives no place any more."""
    return GatewayStopping(
        "This gateway is about to stop and has no time left to draw it; try again.",
        retry_after_seconds=STOPPING_RETRY_SECONDS,
    )
