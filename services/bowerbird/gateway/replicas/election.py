"""Who owns the order: one replica, by a lease in the database; the others find it and follow.

Every replica looks again and again. The owner renews its lease; a follower whose owner is gone (the lease ran out, or
was given back) tries to take it, and the database lets one of them. Its epoch is by one larger than any before.

The right to grant ends by the owner's own clock, counted from before it asked for the lease, and so before the
database's: there is no moment at which two replicas have it. An owner that cannot reach the database, or was stopped,
loses the right for a while, and regains it when the database says that nobody took the lease meanwhile: its books are
still right then. Else it follows like all others.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum

from bowerbird.errors import RecordsUnavailable
from bowerbird.gateway.admission.admission import Admission
from bowerbird.gateway.admission.order import Order
from bowerbird.gateway.admission.owner import Owner
from bowerbird.gateway.records.leases import Lease, Leases
from bowerbird.gateway.replicas.followers import Followers
from bowerbird.gateway.replicas.link import PICTURES, Follower, LinkFailed, linked

QUEUE_OWNER = "queue_owner"
"""The lease of what waits for text-to-image; another queue's has its name behind it."""
LEASE_SECONDS = 5.0
RENEW_SECONDS = 1.0
"""Four renewals may fail before nobody grants."""
MARGIN_SECONDS = 0.5
"""By which the right to grant ends early: what two clocks may drift apart within a lease, and much more."""
LOOK_SECONDS = 0.5
"""How often who does not own the order looks who does."""
ABANDONED_SECONDS = 3.0
"""For how long nobody may own the order before a process that is about to stop believes that nobody will: whoever wants
it looks several times meanwhile."""
GATHER_SECONDS = 1.5
"""For how long a new owner only listens: the others look, connect, and say what they hold."""

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Goes on while the process is stopped, and on Linux while the machine is asleep."""

logger = logging.getLogger(__name__)


class Role(StrEnum):
    """What a gateway is to the order."""

    ALONE = "alone"
    OWNER = "owner"
    FOLLOWER = "follower"
    SEEKING = "seeking"
    """Nobody is known to own the order now."""


@dataclass(slots=True)
class _Tenure:
    """This process owns the order."""

    lease: Lease
    valid_until: float
    owner: Owner
    followers: Followers


class Election:
    """One replica's part in it; `address` is where the others reach this one."""

    def __init__(
        self, leases: Leases, address: str, admission: Admission, follower: Follower, make: Callable[[int], Order]
    ) -> None:
        self.secret, self.queue = follower.secret, follower.queue
        self.on_takeover: Callable[[], None] = lambda: None
        self._lease_name = QUEUE_OWNER if follower.queue == PICTURES else f"{QUEUE_OWNER}_{follower.queue}"
        self._leases = leases
        self._address = address
        self._admission = admission
        self._follower = follower
        self._make = make
        self._tenure: _Tenure | None = None
        self._followed: int | None = None
        self._link: asyncio.Task[None] | None = None
        self._linked_to = 0
        self._stopping = False
        self._owned_at = 0.0
        self._wake = asyncio.Event()
        admission.queue = hashlib.sha256(b"order" + follower.secret).hexdigest()[:16]
        admission.on_doubt = self._wake.set

    @property
    def role(self) -> Role:
        """What this process is to the order now."""
        if self._tenure is not None:
            return Role.OWNER
        return Role.SEEKING if self._followed is None else Role.FOLLOWER

    @property
    def peers(self) -> int:
        """Followers that are connected here."""
        return self._tenure.followers.count if self._tenure else 0

    def followers_in(self, epoch: str) -> Followers | None:
        """Where a follower of this epoch is heard; None when this process does not own the order in it."""
        tenure = self._tenure
        return tenure.followers if tenure is not None and str(tenure.lease.epoch) == epoch else None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Takes part until the context ends, then gives the lease back."""
        looking = asyncio.create_task(self._look_again_and_again())
        try:
            yield
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)
            self._unlink()
            await self._give_back()

    def stop(self) -> None:
        """Leaves the order to the others; what waits here and is computed here is so as a follower's.

        Where there are no others, who waits is sent elsewhere.
        """
        self._stopping, self._owned_at = True, time.monotonic()
        self._wake.set()

    async def _look_again_and_again(self) -> None:
        while True:
            pause = LOOK_SECONDS
            try:
                pause = await self._look()
            except RecordsUnavailable:
                logger.warning("the order's lease cannot be looked at")
                self._owned_at = time.monotonic()  # who owned it may take it again when the database is back
            except Exception:  # a bug: a replica that looks no more would never grant or be granted again
                logger.exception("the order's lease was not looked at")
            try:
                async with asyncio.timeout(pause):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()

    async def _look(self) -> float:
        """One look; gives the seconds until the next."""
        if self._tenure is not None:
            if self._stopping:
                await self._give_back()
            elif await self._renew(self._tenure):
                return RENEW_SECONDS
            else:
                self._abdicate()
        holder = await self._leases.holder(self._lease_name)
        if holder is None:
            return await self._fill()
        self._owned_at = time.monotonic()
        if holder.owner != self._follower.name and not self._is_linked(holder):
            self._follow(holder)
        return LOOK_SECONDS

    async def _fill(self) -> float:
        """What is done where nobody owns the order; gives the seconds until the next look."""
        if self._stopping:
            if time.monotonic() - self._owned_at >= ABANDONED_SECONDS:
                self._admission.stop(0.0)
        elif await self._take():
            return RENEW_SECONDS
        return LOOK_SECONDS

    async def _renew(self, tenure: _Tenure) -> bool:
        asked = time.clock_gettime(_CLOCK)
        if not await self._leases.renew(tenure.lease, LEASE_SECONDS):
            return False
        tenure.valid_until = asked + LEASE_SECONDS - MARGIN_SECONDS
        tenure.owner.dispatch()  # the right may have been lost for a while
        return True

    async def _take(self) -> bool:
        asked = time.clock_gettime(_CLOCK)
        lease = await self._leases.take(self._lease_name, self._follower.name, self._address, LEASE_SECONDS)
        if lease is None:
            return False
        self._unlink()
        grants_from = asked + GATHER_SECONDS

        def may_grant() -> bool:
            return grants_from <= time.clock_gettime(_CLOCK) < tenure.valid_until

        owner = Owner(self._make(lease.epoch), may_grant)
        tenure = self._tenure = _Tenure(lease, asked + LEASE_SECONDS - MARGIN_SECONDS, owner, Followers(owner))
        self.on_takeover()
        self._admission.keep(owner)
        asyncio.get_running_loop().call_later(GATHER_SECONDS, owner.dispatch)
        logger.info("this replica owns the order", extra={"epoch": lease.epoch, "queue": self.queue})
        return True

    def _abdicate(self) -> None:
        tenure, self._tenure = self._tenure, None
        if tenure is None:
            return
        tenure.owner.close()
        tenure.followers.close()
        self._admission.lose()
        logger.info("this replica owns the order no more", extra={"epoch": tenure.lease.epoch, "queue": self.queue})

    async def _give_back(self) -> None:
        if self._tenure is None:
            return
        lease = self._tenure.lease
        self._abdicate()
        try:
            await self._leases.release(lease)
        except RecordsUnavailable:
            logger.warning("the order's lease could not be given back: it runs out")

    # --------------------------------------------------------------------------------------------------- following

    def _is_linked(self, holder: Lease) -> bool:
        return self._link is not None and not self._link.done() and self._linked_to == holder.epoch

    def _follow(self, holder: Lease) -> None:
        self._unlink()
        self._link, self._linked_to = asyncio.create_task(self._listen(holder)), holder.epoch

    async def _listen(self, holder: Lease) -> None:
        """Follows the holder for as long as it is heard."""
        try:
            async with linked(self._follower, holder) as (link, lines):
                self._followed = holder.epoch
                self._admission.follow(link)
                logger.info(
                    "this replica follows the order's owner", extra={"epoch": holder.epoch, "queue": self.queue}
                )
                await link.listen(lines)
        except LinkFailed as error:
            # Twice a second it tries in vain, until a dead owner's lease has run out.
            logger.log(logging.DEBUG if self._followed is None else logging.INFO, "%s", error)
        finally:
            if self._link is asyncio.current_task() and self._followed is not None:  # else who ended it goes on
                self._lose()
                self._wake.set()

    def _unlink(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.cancel()
        self._lose()

    def _lose(self) -> None:
        if self._followed is not None:
            self._followed = None
            self._admission.lose()
