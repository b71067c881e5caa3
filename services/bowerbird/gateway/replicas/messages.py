"""What replicas say to each other: JSON, one message a line, checked on arrival.

A follower says `announce` first, and then what its requests ask for; the owner answers with grants, refusals, places
and beats. Times travel as seconds from now, since two machines' monotonic clocks have nothing in common. A connection
belongs to one owner in one epoch, so that messages need not say of which they are; grants do, for the stages.

`PROTOCOL` stands in the route: replicas of two releases that do not understand each other do not meet, and the newer
wait until the older are gone.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from bowerbird.contracts import WorkClass
from bowerbird.errors import BowerbirdError, QueueFull, error_body, error_from_body
from bowerbird.gateway.admission.bounds import Amount
from bowerbird.gateway.admission.ticket import Ahead, Grant, Place, PutBack, Standing, Ticket

PROTOCOL = 1


class Message(BaseModel):
    """Closed and frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def line(self) -> bytes:
        """As it is sent."""
        return self.model_dump_json().encode() + b"\n"


class TicketFacts(Message):
    """A ticket without what only its own replica acts on: how long it waits, and for what."""

    id: str
    tenant: str
    cost: float
    work_class: WorkClass
    weight: float
    held_bytes: int
    queue_part: float | None
    age_seconds: float
    accepted: bool = Field(default=False, exclude_if=lambda said: not said)
    """Said only where it is so, and to whom it means something (`link.HEARS_HEADER`)."""

    @classmethod
    def of(cls, ticket: Ticket, now: float) -> TicketFacts:
        """What the owner needs to know."""
        return cls(
            id=ticket.id,
            tenant=ticket.tenant,
            cost=ticket.cost,
            work_class=ticket.work_class,
            weight=ticket.weight,
            held_bytes=ticket.held_bytes,
            queue_part=ticket.queue_part,
            age_seconds=now - ticket.arrived,
            accepted=ticket.accepted,
        )

    def ticket(self, now: float) -> Ticket:
        """The ticket by the reader's clock; its own replica takes it away in time."""
        return Ticket(
            self.id,
            self.tenant,
            self.cost,
            wait_until=math.inf,
            work_class=self.work_class,
            weight=self.weight,
            held_bytes=self.held_bytes,
            arrived=now - self.age_seconds,
            queue_part=self.queue_part,
            accepted=self.accepted,
        )


class StandingFacts(Message):
    """A `Standing`."""

    ticket: TicketFacts
    grant: Grant | None
    had_turn: bool


class Left(Message):
    """What a tenant may still send."""

    requests: int
    units: float
    held_bytes: int

    @classmethod
    def of(cls, amount: Amount) -> Left:
        """The amount as it travels."""
        return cls(requests=amount.requests, units=amount.units, held_bytes=amount.held_bytes)

    def amount(self) -> Amount:
        """The amount as it was."""
        return Amount(self.requests, self.units, self.held_bytes)


# ------------------------------------------------------------------------------------------- from a follower


class Announce(Message):
    """All that the follower has outstanding."""

    kind: Literal["announce"] = "announce"
    standings: list[StandingFacts]

    @classmethod
    def of(cls, standings: list[Standing], now: float) -> Announce:
        """Everything in one message: between two, the owner would give away what the second one holds."""
        return cls(
            standings=[
                StandingFacts(ticket=TicketFacts.of(each.ticket, now), grant=each.grant, had_turn=each.had_turn)
                for each in standings
            ]
        )

    def read(self, now: float) -> list[Standing]:
        """By the reader's clock."""
        return [Standing(each.ticket.ticket(now), each.grant, each.had_turn) for each in self.standings]


class Offer(Message):
    """It waits from now on."""

    kind: Literal["offer"] = "offer"
    ticket: TicketFacts


class Leave(Message):
    """Nobody wants it any more."""

    kind: Literal["leave"] = "leave"
    ticket_id: str


class Settle(Message):
    """Its work is finished."""

    kind: Literal["settle"] = "settle"
    grant: Grant


class PutBackAt(Message):
    """It was not served there, and is next again."""

    kind: Literal["put_back"] = "put_back"
    grant: Grant
    why: PutBack
    pause_seconds: float


class Where(Message):
    """Where does it stand? Answered by `Stands`."""

    kind: Literal["where"] = "where"
    ticket_id: str


class Foresee(Message):
    """Where does the work wait whose id the ticket has, or where would it? Answered by `Foreseen`.

    Asked only of owners that understand it (`link.HEARS_HEADER`), who send that to nobody else.
    """

    kind: Literal["foresee"] = "foresee"
    ticket: TicketFacts
    ahead: Ahead


class Beat(Message):
    """The follower lives, and has nothing to say."""

    kind: Literal["beat"] = "beat"


FromFollower = Announce | Offer | Leave | Settle | PutBackAt | Where | Foresee | Beat

# ------------------------------------------------------------------------------------------- from the owner


class Granted(Message):
    """A ticket that waited has a slot; what its tenant may still send."""

    kind: Literal["granted"] = "granted"
    grant: Grant
    left: Left


class Renewed(Message):
    """A ticket keeps the slot that it holds."""

    kind: Literal["renewed"] = "renewed"
    grant: Grant


class Refused(Message):
    """A ticket that was offered may not wait."""

    kind: Literal["refused"] = "refused"
    ticket_id: str
    error: dict[str, Any]
    status: int
    retry_after_seconds: int | None
    left: Left

    @classmethod
    def of(cls, ticket_id: str, refusal: BowerbirdError, left: Amount) -> Refused:
        """A refusal as it travels."""
        return cls(
            ticket_id=ticket_id,
            error=error_body(refusal),
            status=refusal.status,
            retry_after_seconds=refusal.retry_after_seconds,
            left=Left.of(left),
        )

    def refusal(self) -> QueueFull:
        """The refusal as it was; any other error is a QueueFull too, since it kept the ticket out."""
        error = error_from_body(self.status, self.error, self.retry_after_seconds)
        if isinstance(error, QueueFull):
            return error
        return QueueFull("The queue takes no more.", retry_after_seconds=self.retry_after_seconds)


class Stands(Message):
    """Where a ticket stands."""

    kind: Literal["stands"] = "stands"
    ticket_id: str
    position: int
    eta_seconds: float | None


class Foreseen(Message):
    """Where the work waits, or would; None of both where it has a slot."""

    kind: Literal["foreseen"] = "foreseen"
    work_id: str
    position: int | None
    eta_seconds: float | None

    @classmethod
    def of(cls, work_id: str, place: Place | None) -> Foreseen:
        """The place as it travels."""
        if place is None:
            return cls(work_id=work_id, position=None, eta_seconds=None)
        return cls(work_id=work_id, position=place.position, eta_seconds=place.eta_seconds)


class OwnerBeat(Message):
    """The owner lives; and what followers are told again and again."""

    kind: Literal["beat"] = "beat"
    unit_seconds: float


FromOwner = Granted | Renewed | Refused | Stands | Foreseen | OwnerBeat

from_follower: TypeAdapter[FromFollower] = TypeAdapter(Annotated[FromFollower, Field(discriminator="kind")])
from_owner: TypeAdapter[FromOwner] = TypeAdapter(Annotated[FromOwner, Field(discriminator="kind")])
