"""The order for asyncio: whoever wants a slot waits for a future, in one process.

    async with admission.place(ticket, tell) as turn:      raises QueueFull
        grant = await turn.grant()                         raises QueueTimeout; tells its Place meanwhile
        ...                                                draw at grant.endpoint
        turn.finished()                                    the slot is free; or put_back(...), and grant() again

However the block is left, by a result, an error, a cancelled task or a deadline, the ticket leaves the order: it waits
no longer and holds no slot. So a request that nobody waits for takes nothing with it.

Endpoints are reported by whoever looks at them (`stages`): `seen_ready`, `seen_away`. A look is also the probe of one
that was ejected.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

from bowerbird.errors import QueueTimeout
from bowerbird.gateway.admission.bounds import UNKNOWN_RETRY_SECONDS, Amount
from bowerbird.gateway.admission.order import FULL_PAUSE_SECONDS, Order
from bowerbird.gateway.admission.ticket import Grant, Place, PutBack, Ticket

TELL_SECONDS = 2.0
"""How often somebody who waits is told its place."""

Tell = Callable[[Place], None]


class Admission:
    """One stage's queue and slots, for the tasks of one event loop."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._turns: dict[str, Turn] = {}
        self._alarm: asyncio.TimerHandle | None = None

    @asynccontextmanager
    async def place(self, ticket: Ticket, tell: Tell | None = None) -> AsyncIterator[Turn]:
        """A place in the queue for as long as the block runs; raises QueueFull, or TenantQueueFull."""
        self._order.offer(ticket)
        turn = self._turns[ticket.id] = Turn(self, ticket, tell)
        try:
            self.dispatch()
            yield turn
        finally:
            del self._turns[ticket.id]
            self._order.leave(ticket.id, time.monotonic())
            self.dispatch()

    def forecast(self, ticket: Ticket) -> Place:
        """Where the ticket would stand if it were offered now."""
        return self._order.place(ticket, time.monotonic())

    def latest_start(self, ticket: Ticket) -> float:
        """Until when waiting makes sense: what is granted later would be computed for nobody, and at others' cost."""
        return min(ticket.wait_until, ticket.finish_by - self._order.computing_seconds(ticket.cost))

    def left(self, tenant: str) -> Amount:
        """What the tenant may still send."""
        return self._order.left(tenant)

    @property
    def waiting(self) -> int:
        """How many wait."""
        return self._order.waiting

    @property
    def holding(self) -> int:
        """How many hold a slot."""
        return self._order.holding

    def seen_ready(self, url: str, slots: int, unit_seconds: float | None) -> None:
        """A look found this endpoint ready."""
        self._order.endpoints.seen_ready(url, slots, unit_seconds, time.monotonic())
        self.dispatch()

    def seen_away(self, url: str) -> None:
        """A look found this endpoint not ready, or did not find it."""
        self._order.endpoints.seen_away(url)

    def dispatch(self) -> None:
        """Grants every slot that is free, and comes back when an endpoint that was full may be asked again."""
        now = time.monotonic()
        while grant := self._order.grant(now):
            self._turns[grant.ticket_id].receive(grant)
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        reopening = self._order.endpoints.reopening()
        if reopening is not None and self._order.waiting:
            delay = max(0.0, reopening - now)
            self._alarm = asyncio.get_running_loop().call_later(delay, self.dispatch)

    def settle(self, grant: Grant, finished: bool) -> None:
        """The grant's slot is free; for `Turn`."""
        if self._order.settle(grant, time.monotonic(), finished):
            self.dispatch()

    def put_back(self, grant: Grant, why: PutBack, pause_seconds: float) -> None:
        """The grant's ticket is next again; for `Turn`."""
        if self._order.put_back(grant, why, time.monotonic(), pause_seconds):
            self.dispatch()


class Turn:
    """One ticket's way through the queue; `Admission.place` makes it."""

    def __init__(self, admission: Admission, ticket: Ticket, tell: Tell | None) -> None:
        self.ticket = ticket
        self._admission = admission
        self.losses = 0
        """How many endpoints died under it."""
        self.waits_again = False
        """It was put back, and has no slot yet."""
        self._tell = tell
        self._patience = ticket.wait_until - time.monotonic()
        self._granted: asyncio.Future[Grant] = asyncio.get_running_loop().create_future()

    async def grant(self) -> Grant:
        """A slot; raises QueueTimeout when there is none in time. After `put_back` it may be awaited again."""
        try:
            async with asyncio.timeout(max(0.0, self._admission.latest_start(self.ticket) - time.monotonic())):
                await self._wait()
        except TimeoutError as error:
            if not self._granted.done():  # else it came in the same turn of the loop
                raise self._too_late() from error
        self.waits_again = False
        return self._granted.result()

    def receive(self, grant: Grant) -> None:
        """The slot is this ticket's; for `Admission`."""
        self._granted.set_result(grant)

    def finished(self) -> None:
        """What the slot was granted for is computed; the slot is free."""
        self._admission.settle(self._granted.result(), finished=True)

    def put_back(self, why: PutBack, pause_seconds: float = FULL_PAUSE_SECONDS) -> None:
        """The endpoint did not serve it: it is next again.

        One that was lost with its endpoint may wait as long as it might in the beginning, for a while has passed; one
        that met a full endpoint has waited all the time.
        """
        self.waits_again = True
        if why is PutBack.LOST:
            self.losses += 1
            self.ticket = replace(self.ticket, wait_until=time.monotonic() + self._patience)
        grant, self._granted = self._granted.result(), asyncio.get_running_loop().create_future()
        self._admission.put_back(grant, why, pause_seconds)

    async def _wait(self) -> None:
        while not self._granted.done():
            if self._tell is not None:
                self._tell(self._admission.forecast(self.ticket))
            await asyncio.wait({self._granted}, timeout=None if self._tell is None else TELL_SECONDS)

    def _too_late(self) -> QueueTimeout:
        eta = self._admission.forecast(self.ticket).eta_seconds
        retry_after = UNKNOWN_RETRY_SECONDS if eta is None else max(1, math.ceil(eta))
        return QueueTimeout(
            "No slot was free early enough; the place in the queue is given up.",
            retry_after_seconds=retry_after,
        )
