"""Who keeps the order, as a replica sees it; and a replica, as who keeps the order sees it.

Each gateway process has one front (`admission`) and asks one keeper: the owner in the same process (`owner`), the owner
in another one (`gateway/replicas/link`), or nobody, while an owner is being found (`interregnum`). What is asked is the
same, so that neither end knows whether there is a network between them. Three rules make that safe:

- What a replica asks arrives in the order in which it asked, and so does what it is told.
- A keeper is asked by one front in one epoch. When the owner changes, the front leaves the old keeper unheard and
  announces to the new one everything that it has outstanding: nothing else of a ticket lives in the keeper.
- A replica that finishes by a grant which the owner has renewed meanwhile, without having heard so, means the new one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from bowerbird.errors import QueueFull
from bowerbird.gateway.admission.bounds import Amount
from bowerbird.gateway.admission.ticket import Ahead, Grant, Place, PutBack, Standing, Ticket


class Replica(Protocol):
    """One gateway process, told what becomes of its tickets; what it does not know any more, it ignores."""

    def granted(self, grant: Grant) -> None:
        """One of its tickets that waited has a slot."""

    def renewed(self, grant: Grant) -> None:
        """One of its tickets keeps the slot that it holds, by the word of a new owner."""

    def refused(self, ticket_id: str, refusal: QueueFull) -> None:
        """One that it offered may not wait; for keepers that cannot say so at once."""


class Keeper(Protocol):
    """Whoever keeps the order for this process."""

    def announce(self, standings: Sequence[Standing]) -> None:
        """All that the replica has outstanding, oldest first; said once, before anything else."""

    def offer(self, ticket: Ticket) -> None:
        """It waits from now on; raises QueueFull, or has the replica told that it is refused."""

    def leave(self, ticket_id: str) -> None:
        """Nobody wants it any more, whether it waits or holds a slot."""

    def settle(self, grant: Grant) -> None:
        """What the slot was granted for is computed."""

    def put_back(self, grant: Grant, why: PutBack, pause_seconds: float) -> None:
        """The ticket was not served there, and is next again."""

    async def forecast(self, ticket: Ticket) -> Place | None:
        """Where a ticket that waits stands; None where nobody says so."""

    async def foresee(self, ticket: Ticket, ahead: Ahead) -> Place | None:
        """Where the work waits whose id this ticket has, in whatever replica, or would if it came when those have that
        are `ahead`; None when it has a slot, or nobody says so."""

    def unit_seconds(self) -> float:
        """How long a slot computes one unit while every slot is taken; 0 where that is not known."""

    def left(self, tenant: str, part: float | None) -> Amount:
        """What a tenant may still send, as far as is known here, when it may fill this part of the queue."""
