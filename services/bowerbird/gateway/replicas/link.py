"""A follower's end of its connection to the owner: a `Keeper` that writes down what it is asked, and hears the answers.

    async with linked(follower, lease) as (link, lines):     raises LinkFailed
        admission.follow(link)                               everything outstanding is announced
        await link.listen(lines)                             until the owner is not heard any more

Each end shows that it knows the secret that all replicas share through the database (HMAC-SHA256 over who they are, the
epoch, and a number used once): the follower before it is let in, the owner before it is told anything, since whoever
grants also says where prompts are sent.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TypeVar

import aiohttp
from pydantic import ValidationError

from bowerbird.gateway.admission.bounds import Amount, Occupancy
from bowerbird.gateway.admission.keeper import Replica
from bowerbird.gateway.admission.ticket import Ahead, Grant, Place, PutBack, Standing, Ticket
from bowerbird.gateway.records.leases import Lease
from bowerbird.gateway.replicas.messages import (
    PROTOCOL,
    Announce,
    Beat,
    Foresee,
    Foreseen,
    Granted,
    Leave,
    Message,
    Offer,
    OwnerBeat,
    PutBackAt,
    Refused,
    Renewed,
    Settle,
    Stands,
    TicketFacts,
    Where,
    from_owner,
)
from bowerbird.gateway.replicas.stream import Outbox, Silence, heard

PICTURES, CLIPS = "order", "clips"
"""The queues that replicas share, each with an owner of its own: what waits for text-to-image, and for animation."""
REPLICA_HEADER = "bowerbird-replica"
EPOCH_HEADER = "bowerbird-epoch"
NONCE_HEADER = "bowerbird-nonce"
PROOF_HEADER = "bowerbird-proof"
HEARS_HEADER = "bowerbird-hears"
"""In the owner's answer: what it understands that owners of earlier releases do not, who take no field that they do not
know. They are told nothing of it: they check what was accepted as they do everything, and are not asked about tickets
that are not this replica's."""
ACCEPTED, FORESEES = "accepted", "foresee"
HEARS = f"{ACCEPTED}, {FORESEES}"

CONNECT_SECONDS = 2.0
FORECAST_SECONDS = 1.0
MAX_TENANTS = 10_000
"""Whose allowance is remembered; beyond it, all are forgotten until they are told again."""


def path_of(queue: str) -> str:
    """Where the followers of a queue's owner come."""
    return f"/replicas/{PROTOCOL}/{queue}"


Answer = TypeVar("Answer")


class LinkFailed(Exception):
    """The owner cannot be reached, does not own the order any more, or is somebody else."""


@dataclass(frozen=True, slots=True)
class Follower:
    """Who connects: the replica's name, its front, and what it needs to be let in."""

    name: str
    replica: Replica
    occupancy: Occupancy
    """An empty one: what a tenant may send that nothing was said of."""
    session: aiohttp.ClientSession
    secret: bytes
    """Of this queue: what opens one opens no other."""
    queue: str = PICTURES


def proof(secret: bytes, side: str, replica: str, epoch: str, nonce: str) -> str:
    """What only who knows the secret can say; `side` is "owner" or "follower", of the connection of that replica."""
    return hmac.new(secret, "\n".join((side, replica, epoch, nonce)).encode(), hashlib.sha256).hexdigest()


class Link:
    """The owner, as far as it was heard."""

    def __init__(self, follower: Follower) -> None:
        self.outbox = Outbox(Beat)
        self.hears_accepted = True
        """Whether the owner understands which tickets were accepted."""
        self.foresees = True
        """Whether the owner can be asked where others' work waits."""
        self._follower = follower
        self._unit_seconds = 0.0
        self._left: dict[str, Amount] = {}
        self._tenants: dict[str, str] = {}
        self._asked: dict[str, asyncio.Future[Place]] = {}
        self._foreseen: dict[str, asyncio.Future[Place | None]] = {}

    def announce(self, standings: Sequence[Standing]) -> None:
        """See `Keeper`."""
        self._tenants.update({each.ticket.id: each.ticket.tenant for each in standings})
        told = [replace(each, ticket=self._told(each.ticket)) for each in standings]
        self.outbox.put(Announce.of(told, time.monotonic()))

    def offer(self, ticket: Ticket) -> None:
        """The owner decides; the replica hears when it is refused."""
        self._tenants[ticket.id] = ticket.tenant
        self.outbox.put(Offer(ticket=TicketFacts.of(self._told(ticket), time.monotonic())))

    def leave(self, ticket_id: str) -> None:
        """See `Keeper`."""
        self._tenants.pop(ticket_id, None)
        self._asked.pop(ticket_id, None)
        self.outbox.put(Leave(ticket_id=ticket_id))

    def settle(self, grant: Grant) -> None:
        """See `Keeper`."""
        self._tenants.pop(grant.ticket_id, None)
        self.outbox.put(Settle(grant=grant))

    def put_back(self, grant: Grant, why: PutBack, pause_seconds: float) -> None:
        """See `Keeper`."""
        self.outbox.put(PutBackAt(grant=grant, why=why, pause_seconds=pause_seconds))

    async def forecast(self, ticket: Ticket) -> Place | None:
        """Asks; None when the owner does not answer."""
        return await self._answer(self._asked, ticket.id, lambda: Where(ticket_id=ticket.id))

    async def foresee(self, ticket: Ticket, ahead: Ahead) -> Place | None:
        """Asks; None also when the owner is of a release that does not know."""
        if not self.foresees:
            return None
        facts = TicketFacts.of(ticket, time.monotonic())
        return await self._answer(self._foreseen, ticket.id, lambda: Foresee(ticket=facts, ahead=ahead))

    def unit_seconds(self) -> float:
        """As the owner measured it."""
        return self._unit_seconds

    def left(self, tenant: str, part: float | None) -> Amount:
        """As the owner said when it last granted or refused something to this tenant here."""
        return self._left.get(tenant) or self._follower.occupancy.left(tenant, part)

    async def listen(self, lines: AsyncIterator[bytes]) -> None:
        """Tells the replica what the owner says, until it says nothing any more; raises LinkFailed then."""
        try:
            async for line in lines:
                self._hear(line)
        except (Silence, aiohttp.ClientError, ValidationError) as error:
            raise LinkFailed("the owner of the order is not heard any more") from error
        raise LinkFailed("the owner of the order has closed the connection")

    def _hear(self, line: bytes) -> None:
        message, replica = from_owner.validate_json(line), self._follower.replica
        match message:
            case Granted(grant=grant, left=left):
                self._note(grant.ticket_id, left.amount())
                replica.granted(grant)
            case Renewed(grant=grant):
                replica.renewed(grant)
            case Refused(ticket_id=ticket_id, left=left):
                self._note(ticket_id, left.amount())
                self._asked.pop(ticket_id, None)
                replica.refused(ticket_id, message.refusal())
            case Stands() | Foreseen():
                self._be_told(message)
            case OwnerBeat(unit_seconds=unit_seconds):
                self._unit_seconds = unit_seconds

    async def _answer(
        self, asked: dict[str, asyncio.Future[Answer]], name: str, question: Callable[[], Message]
    ) -> Answer | None:
        """What the owner says to this question, which is asked once for all who ask it meanwhile; None for nothing."""
        answer = asked.get(name)
        if answer is None:
            answer = asked[name] = asyncio.get_running_loop().create_future()
            self.outbox.put(question())
        await asyncio.wait({answer}, timeout=FORECAST_SECONDS)
        if answer.done():
            return answer.result()
        asked.pop(name, None)
        return None

    def _be_told(self, answer: Stands | Foreseen) -> None:
        place = None if answer.position is None else Place(answer.position, answer.eta_seconds)
        if isinstance(answer, Foreseen):
            if foreseen := self._foreseen.pop(answer.work_id, None):
                foreseen.set_result(place)
        elif (asked := self._asked.pop(answer.ticket_id, None)) and place is not None:
            asked.set_result(place)

    def _told(self, ticket: Ticket) -> Ticket:
        return ticket if self.hears_accepted else replace(ticket, accepted=False)

    def _note(self, ticket_id: str, left: Amount) -> None:
        tenant = self._tenants.get(ticket_id)
        if tenant is None:
            return
        if len(self._left) >= MAX_TENANTS:
            self._left.clear()
        self._left[tenant] = left


@asynccontextmanager
async def linked(follower: Follower, lease: Lease) -> AsyncIterator[tuple[Link, AsyncIterator[bytes]]]:
    """A connection to the holder of the lease, and what comes over it; raises LinkFailed when there is none."""
    link, epoch, nonce = Link(follower), str(lease.epoch), secrets.token_hex(16)
    headers = {
        REPLICA_HEADER: follower.name,
        EPOCH_HEADER: epoch,
        NONCE_HEADER: nonce,
        PROOF_HEADER: proof(follower.secret, "follower", follower.name, epoch, nonce),
    }
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS)
    url = f"{lease.address}{path_of(follower.queue)}"
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            answer = await follower.session.post(url, data=link.outbox.chunks(), headers=headers, timeout=timeout)
    except (aiohttp.ClientError, TimeoutError) as error:
        raise LinkFailed("the owner of the order cannot be reached") from error
    try:
        expected = proof(follower.secret, "owner", follower.name, epoch, nonce)
        shown = answer.headers.get(PROOF_HEADER, "")
        if answer.status != 200 or not hmac.compare_digest(shown.encode(), expected.encode()):
            raise LinkFailed(f"the owner of the order answered with status {answer.status}")
        hears = answer.headers.get(HEARS_HEADER, "")
        link.hears_accepted, link.foresees = ACCEPTED in hears, FORESEES in hears
        yield link, heard(answer.content.iter_any())
    finally:
        answer.close()
