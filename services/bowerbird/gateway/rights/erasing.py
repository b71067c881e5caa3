"""The story of one erasure.

    stop      nothing of theirs is worked on any more: jobs and batches are cancelled (a tenant's keys open nothing
              since the erasure was asked for)
    settle    until whoever worked on it has noticed, in whichever replica, and a plain request has ended or is one
              whose pictures will not be kept (`fence`)
    remove    rows and files, room by room
    settle    until what any replica remembers is no longer believed, and what was being written is there to be found
    stop      and
    remove    what came in between
    search    files that no row names: what a process left that died while it wrote
    rewrite   the database's files, in which deleted rows still are

Who carries it may die anywhere in it; the next one begins again and finds less to do.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy.ext.asyncio import AsyncConnection

from bowerbird.gateway.records.opening import Records
from bowerbird.gateway.rights.erasures import Claim, Erasure, Erasures
from bowerbird.gateway.rights.holding import Holding

STOP_SECONDS = 12.0
"""Above a job's lease (10 s), and what a replica believes of a key (5 s): then who works on a cancelled job is told."""
SETTLE_SECONDS = 35.0
"""Above what a replica believes of its memory of results (30 s), and may take to store one (30 s)."""
REWRITE_TRIES = 3
REWRITE_AGAIN_SECONDS = 5.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Erasing:
    """What an erasure is done with."""

    records: Records
    erasures: Erasures
    holdings: Sequence[Holding]
    _rewriting: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Of this process: of two that write the same table anew, one would only wait for the other."""

    async def carry(self, claim: Claim) -> Erasure:
        """Does all of it; raises TakenOver, or RecordsUnavailable."""
        await self._stop(claim)
        await self._settle(claim, STOP_SECONDS)
        await self._remove(claim)
        await self._settle(claim, SETTLE_SECONDS)
        if await self._stop(claim):
            await self._settle(claim, STOP_SECONDS)
        await self._remove(claim)
        await self.erasures.tell(claim, "search")
        for holding in self.holdings:
            await holding.search()
        await self.erasures.tell(claim, "rewrite")
        return await self.erasures.finish(claim, rewritten=await self._rewrite())

    async def _stop(self, claim: Claim) -> int:
        await self.erasures.tell(claim, "stop")
        return sum([await holding.stop(claim.subject) for holding in self.holdings])

    async def _settle(self, claim: Claim, seconds: float) -> None:
        await self.erasures.tell(claim, "settle")
        await asyncio.sleep(seconds)

    async def _remove(self, claim: Claim) -> None:
        async def count(connection: AsyncConnection, gone: Mapping[str, int]) -> None:
            await self.erasures.count(connection, claim, gone)

        await self.erasures.tell(claim, "remove")
        for holding in self.holdings:
            await holding.remove(claim.subject, count)

    async def _rewrite(self) -> bool:
        """Not again and again: what could not be had is said, and is the database's own to do."""
        tables = sorted({table for holding in self.holdings for table in holding.tables})
        for tried in range(1, REWRITE_TRIES + 1):
            async with self._rewriting:
                if await self.records.database.rewrite(tables):
                    return True
            if tried < REWRITE_TRIES:
                await asyncio.sleep(REWRITE_AGAIN_SECONDS)
        logger.warning("erased rows may still be in the database's files until it overwrites them")
        return False
