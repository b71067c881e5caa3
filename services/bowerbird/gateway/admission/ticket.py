"""What waits, and what it is told and given."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from bowerbird.contracts import WorkClass

MARK = "."
"""In a ticket's id, behind the id of the work that waits by it."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """A request in the queue, as the order sees it: not what is drawn, only what that costs and who asked."""

    id: str
    """Of this wait and no other, in whatever replica: a job may for a moment wait in two. What others may ask about,
    an accepted piece of work, gives its own id and a `MARK` before that."""
    tenant: str
    cost: float
    """Compute units (`contracts.ModelCosts`), above 0."""
    wait_until: float
    """When nobody waits for a slot any more, on the monotonic clock."""
    work_class: WorkClass = WorkClass.INTERACTIVE
    weight: float = 1.0
    """The tenant's share, above 0; that of its newest ticket counts."""
    held_bytes: int = 0
    """Memory that the request takes while it waits."""
    finish_by: float = math.inf
    """When nobody waits for the result any more; a slot too late to finish in time is none."""
    arrived: float = 0.0
    """When it began to wait, on the monotonic clock: its place in its tenant's line when the order is made anew."""
    queue_part: float | None = None
    """The part of the queue that its tenant may fill; None: `Bounds.tenant_part`."""
    accepted: bool = False
    """Its client has the word that it will be drawn: no bound refuses it, and it takes nobody's part of the queue."""

    @property
    def work_id(self) -> str | None:
        """The id of the accepted piece of work that waits by this ticket; None for one that nobody else asks about."""
        return self.id.rpartition(MARK)[0] or None


@dataclass(frozen=True, slots=True)
class Ahead:
    """Jobs that are not in the queue yet, and will be before another one that is not either."""

    count: int = 0
    """In the line of that job's own tenant and class."""
    units: float = 0.0
    """What those cost."""
    others: int = 0
    """In all other lines."""
    others_units: float = 0.0

    def __add__(self, more: Ahead) -> Ahead:
        """Both."""
        own, others = self.count + more.count, self.others + more.others
        return Ahead(own, self.units + more.units, others, self.others_units + more.others_units)


NOBODY = Ahead()


@dataclass(frozen=True, slots=True)
class Place:
    """What a waiting caller is told."""

    position: int
    """1 is next."""
    eta_seconds: float | None
    """Until a slot is granted; None while there is no endpoint that could be waited for."""


@dataclass(frozen=True, slots=True)
class Grant:
    """A slot at one endpoint, for one ticket, by one owner of the order."""

    ticket_id: str
    endpoint: str
    """The endpoint's URL."""
    epoch: int
    """Of the owner who granted it: a later owner does not honour it."""
    number: int
    """Different for each grant of an epoch: a ticket that was put back is granted again."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a ticket stands when its replica announces it to a new owner."""

    ticket: Ticket
    grant: Grant | None = None
    """The slot that it holds, by an earlier owner's word; None while it waits."""
    had_turn: bool = False
    """It waits again after a slot that did not serve it."""


class PutBack(StrEnum):
    """Why a granted ticket goes back to the head of the queue."""

    FULL = "full"
    """The endpoint says that it has no slot: it works for others too, or is about to stop."""
    LOST = "lost"
    """The endpoint cannot be reached, or died while it drew."""
    STALE = "stale"
    """The endpoint knows of a later owner than the one who granted it: the slot is not this ticket's."""
