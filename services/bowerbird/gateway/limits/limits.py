"""Limits for asyncio: who comes in, who has to come back later, and what happens meanwhile.

    account = await limits.enter(principal)     counted in every window, with a slot; raises LimitReached
    ...                                         the request is answered
    limits.leave(account)                       the slot is free

    await limits.charge(principal, units)       what a drawing will cost, before it is drawn

With a share at hand nothing of this waits; without one it waits for the ledger, and all requests of the tenant for the
same answer. In the background (`kept_up`) shares that are used are topped up, slots that are not are given back, and
what is over is swept.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress

from bowerbird.errors import LimitReached, RecordsUnavailable, TierExceeded
from bowerbird.gateway.identity.principal import Principal
from bowerbird.gateway.limits.account import Account, all_in_use, reached
from bowerbird.gateway.limits.ledger import Ledger, Order, SlotOrder
from bowerbird.gateway.limits.metrics import LimitMetrics
from bowerbird.gateway.limits.share import Share, Want
from bowerbird.gateway.limits.slots import LEASE_SECONDS, Slots

TOP_UP_SECONDS = 0.2
RENEW_SECONDS = LEASE_SECONDS / 4
SWEEP_SECONDS = 60.0
ANSWER_SECONDS = 1.0
"""How long a request waits for the ledger before this gateway goes on alone."""
ALONE_SECONDS = 5.0
"""How long it then does not ask."""
IDLE_SECONDS = 60.0

ALONE = (b"bowerbird-limits", b"alone")
"""Said of every answer while limits are one gateway's own, since the database does not answer."""

logger = logging.getLogger(__name__)


class Limits:
    """The accounts of the tenants that this replica serves."""

    def __init__(
        self, ledger: Ledger, metrics: LimitMetrics, alone_part: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._ledger = ledger
        self._metrics = metrics
        self._alone_part = alone_part
        self._clock = clock
        self._accounts: dict[str, Account] = {}
        self._asking: dict[str, asyncio.Lock] = {}
        self._alone_until = 0.0
        self.alone = False
        """The database does not answer: limits are this gateway's own part of them."""

    def account(self, principal: Principal) -> Account:
        """The tenant's account; a new one when its tier is another now, with the slots that are in use."""
        account = self._accounts.get(principal.tenant)
        if account is None or account.tier is not principal.tier:
            before, account = account, Account(principal.tenant, principal.tier)
            if before is not None and before.slots is not None and account.slots is not None:
                quota, account.slots = account.slots.quota, before.slots
                account.slots.quota = quota
            self._accounts[principal.tenant] = account
        return account

    async def enter(self, principal: Principal) -> Account:
        """The account of the tenant, with one request more counted and under way; raises LimitReached."""
        account = self.account(principal)
        try:
            if account.slots is not None:
                await self._take_slot(account, account.slots)
            try:
                await self._count(account)
            except BaseException:
                self.leave(account)
                raise
        except LimitReached as error:
            self._metrics.refused(error.details["limit"], account.tier.name)
            raise
        return account

    def enter_at_once(self, principal: Principal) -> Account | None:
        """As `enter`, where a share and a slot are at hand; else None with nothing counted, and `enter` says more."""
        account = self.account(principal)
        now = self._clock()
        if any(not share.has(1.0, now) for share in account.requests):
            return None
        if account.slots is not None and not account.slots.take(now):
            return None
        account.used_at = now
        account.lacking(now)
        return account

    def leave(self, account: Account) -> None:
        """A request that entered is answered."""
        if account.slots is not None:
            account.slots.give_back()

    def headers(self, account: Account) -> list[tuple[bytes, bytes]]:
        """What an answer says of the tenant's limits, and whether they are this gateway's own."""
        told = account.headers(self._clock())
        return [*told, ALONE] if self.alone else told

    async def charge(self, principal: Principal, units: float) -> None:
        """Counts compute units; raises LimitReached, or TierExceeded for more than any window has."""
        account = self.account(principal)
        share = account.units
        if share is None:
            return
        if units > share.limit.quota:
            raise TierExceeded(
                f"This would take {units:.0f} compute units; your tier has {share.limit.quota:g} a minute.",
                details={"limit": share.limit.name, "quota": share.limit.quota},
            )
        while not share.has(units, self._clock()):
            if share.hopeless(units) or not await self._ask(account, [share], units):
                self._metrics.refused(share.limit.name, account.tier.name)
                raise reached(share, self._clock())
        share.spend(units)

    @asynccontextmanager
    async def kept_up(self) -> AsyncIterator[None]:
        """Looks after the accounts until the context ends; then gives the slots back."""
        work = (self._top_up, TOP_UP_SECONDS), (self._renew, RENEW_SECONDS), (self._sweep, SWEEP_SECONDS)
        tasks = [asyncio.create_task(_every(seconds, each)) for each, seconds in work]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            with suppress(RecordsUnavailable, TimeoutError):
                async with asyncio.timeout(ANSWER_SECONDS):
                    await self._give_back(list(self._accounts.values()))

    async def _count(self, account: Account) -> None:
        now = account.used_at = self._clock()
        while lacking := account.lacking(now):
            had = await self._ask(account, lacking, 1.0)
            now = self._clock()
            short = [] if had else [share for share in lacking if not share.has(1.0, now)]
            if short:
                raise reached(max(short, key=lambda share: share.until), now)

    async def _ask(self, account: Account, shares: Sequence[Share], amount: float) -> bool:
        """Has shares handed out until each has `amount`; False when one cannot have it."""
        async with self._asking.setdefault(account.tenant, asyncio.Lock()):
            now = self._clock()
            short = [share for share in shares if not share.has(amount, now)]
            if short and not await self._hand_out(account, [share.want(amount, now) for share in short]):
                for share in short:
                    share.grant_alone(self._alone_part, self._clock())
            now = self._clock()
            # A window that ended while it was asked for is no reason to refuse: the next one is asked for.
            return all(share.has(amount, now) or now >= share.until for share in shares)

    async def _hand_out(self, account: Account, wants: Sequence[Want]) -> bool:
        """Whether the ledger answered; its answer is with the shares then."""
        asked_at = self._clock()
        if asked_at < self._alone_until:
            return False
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                outs = await self._ledger.hand_out(Order(account.tenant, tuple(wants)))
        except (RecordsUnavailable, TimeoutError):
            self._set_alone(True)
            return False
        self._set_alone(False)
        shares = {share.limit.name: share for share in account.shares}
        for want, out in zip(wants, outs, strict=True):
            shares[want.limit.name].receive(out, asked_at, self._clock())
        return True

    async def _take_slot(self, account: Account, slots: Slots) -> None:
        if slots.take(self._clock()):
            return
        async with self._asking.setdefault(account.tenant, asyncio.Lock()):
            if slots.take(self._clock()):
                return
            answered = await self._lease(account, slots, slots.wanted())
            if slots.take(self._clock()) or (not answered and slots.take_alone(self._alone_part)):
                return
        raise all_in_use(slots)

    async def _lease(self, account: Account, slots: Slots, wanted: int) -> bool:
        asked_at = self._clock()
        if asked_at < self._alone_until:
            return False
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                held = await self._ledger.lease_slots(SlotOrder(account.tenant, wanted, slots.quota))
        except (RecordsUnavailable, TimeoutError):
            self._set_alone(True)
            return False
        self._set_alone(False)
        slots.receive(held, asked_at)
        return True

    def _set_alone(self, alone: bool) -> None:
        self._metrics.handed_out("failed" if alone else "answered")
        if alone:
            self._alone_until = self._clock() + ALONE_SECONDS
        if alone == self.alone:
            return
        self.alone = alone
        self._metrics.alone(alone)
        if alone:
            facts = {"part_of_each_limit": self._alone_part}
            logger.warning("limits are this gateway's own: the database does not answer", extra=facts)
        else:
            logger.warning("limits hold over all gateways again")

    async def _top_up(self) -> None:
        """Asks for what will be needed soon, for all tenants at once: the writer makes one transaction of it."""
        await asyncio.gather(*(self._top_up_one(account) for account in list(self._accounts.values())))

    async def _top_up_one(self, account: Account) -> None:
        now = self._clock()
        if not any(share.top_up(now) for share in account.shares):
            return
        async with self._asking.setdefault(account.tenant, asyncio.Lock()):
            wants = [want for share in account.shares for want in share.top_up(self._clock())]
            if wants:
                await self._hand_out(account, wants)

    async def _renew(self) -> None:
        """Prolongs what is held, gives back what is not used, and forgets tenants that were not seen for a while."""
        if self.alone:
            await self._look_for_the_ledger()
        now = self._clock()
        accounts = list(self._accounts.values())
        await asyncio.gather(*(self._renew_one(account) for account in accounts))
        for account in accounts:
            over = all(now >= share.until for share in account.shares)
            if over and now - account.used_at > IDLE_SECONDS and not (account.slots and account.slots.in_use):
                self._accounts.pop(account.tenant, None)
                self._asking.pop(account.tenant, None)

    async def _renew_one(self, account: Account) -> None:
        slots = account.slots
        if slots is None or not slots.held:
            return
        async with self._asking.setdefault(account.tenant, asyncio.Lock()):
            await self._lease(account, slots, slots.shrink())

    async def _look_for_the_ledger(self) -> None:
        """Asks for nothing, so that this gateway is not called alone until somebody needs something."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._ledger.hand_out(Order("", ()))
        except (RecordsUnavailable, TimeoutError):
            self._set_alone(True)
        else:
            self._set_alone(False)

    async def _give_back(self, accounts: Sequence[Account]) -> None:
        held = [(each.tenant, each.slots.quota) for each in accounts if each.slots is not None and each.slots.held]
        await asyncio.gather(*(self._ledger.lease_slots(SlotOrder(tenant, 0, quota)) for tenant, quota in held))

    async def _sweep(self) -> None:
        await self._ledger.sweep()


async def _every(seconds: float, work: Callable[[], object]) -> None:
    while True:
        await asyncio.sleep(seconds)
        try:
            await work()  # type: ignore[misc]
        except RecordsUnavailable:
            logger.warning("limits were not looked after: the records cannot be written")
        except Exception:  # a bug: limits must not stand still for it
            logger.exception("limits were not looked after")
