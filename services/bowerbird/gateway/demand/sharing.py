"""What all replicas want, as this one knows it: written and read each second, and at once when somebody begins to wait.

KEDA opens each of its streams to one replica and asks its other questions of another, so that every replica has to
answer for all. `board` is what was read last, with this replica's own levels in place of its rows: what began here a
moment ago is on it before it is written. `everything` reads now, or raises: nobody is told "nothing is wanted" by a
replica that cannot know.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress

from bowerbird.errors import RecordsUnavailable
from bowerbird.gateway.demand.level import Demand, Level
from bowerbird.gateway.demand.rows import CHANNEL, DemandRows, Row
from bowerbird.gateway.records.listening import Listener
from bowerbird.gateway.upstream import Stage

SHARE_SECONDS = 1.0
SWEEP_EVERY = 60
"""Turns between two sweeps of what replicas left that died."""

logger = logging.getLogger(__name__)

Floors = Callable[[], Mapping[str, int]]


class Sharing:
    """One replica's part; `variants` names the variant of each stage."""

    def __init__(
        self, demand: Demand, rows: DemandRows, variants: Mapping[Stage, str], floors: Floors, listener: Listener | None
    ) -> None:
        self.variants = variants
        self.rows = rows
        self.may_fall: Callable[[], bool] = lambda: True
        """Whether less may be wanted than before: not before Kubernetes knows which pods are busy."""
        self._demand = demand
        self._floors = floors
        self._listener = listener
        self._own: dict[str, Level] = {}
        self._others: list[Row] = []
        self._rise = asyncio.Event()
        self._news = asyncio.Event()
        demand.on_rise = self._rise.set

    @property
    def board(self) -> list[Row]:
        """All demand, as of at most a second ago."""
        own = [Row(self.rows.source, variant, level) for variant, level in self._own.items()]
        return [*self._others, *own]

    def wants_pods(self, stage: Stage) -> bool:
        """Whether the settings, the hour or a `POST` want pods of this stage, whatever the work."""
        variant = self.variants.get(stage)
        return any(row.level.pods for row in self.board if row.variant == variant)

    async def everything(self) -> list[Row]:
        """All demand now; raises RecordsUnavailable where that cannot be known."""
        self._note(await self.rows.read())
        return self.board

    async def news(self, within_seconds: float) -> None:
        """Returns when the board has changed, or after so long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_seconds):
                await self._news.wait()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Writes and reads until the context ends, then leaves."""
        async with AsyncExitStack() as stack:
            if self._listener is not None:
                await stack.enter_async_context(self._listener.listening(CHANNEL, self._rise.set))
            sharing = asyncio.create_task(self._share_again_and_again())
            try:
                yield
            finally:
                sharing.cancel()
                await asyncio.gather(sharing, return_exceptions=True)
                with suppress(RecordsUnavailable):  # its rows expire
                    await self.rows.leave()

    async def _share_again_and_again(self) -> None:
        turn = 0
        while True:
            self._rise.clear()
            try:
                await self._share()
                if turn % SWEEP_EVERY == 0:
                    await self.rows.sweep()
            except RecordsUnavailable:
                logger.warning("demand cannot be shared while the database does not answer")
            except Exception:  # a bug: nobody would be woken any more
                logger.exception("demand was not shared")
            turn += 1
            with suppress(TimeoutError):
                async with asyncio.timeout(SHARE_SECONDS):
                    await self._rise.wait()

    async def _share(self) -> None:
        before, may_fall = self._own, self.may_fall()
        levels = self._demand.take()
        floors = self._floors()
        self._own = {}
        for stage, variant in self.variants.items():
            level, least = levels[stage], before.get(variant, Level()).running if not may_fall else 0
            running = max(level.running, least)
            self._own[variant] = Level(level.queued, running, level.draining, floors.get(variant, 0))
        risen = {
            variant for variant, level in self._own.items() if level.active and not before.get(variant, Level()).active
        }
        if risen:
            self._tell()
        await self.rows.write(self._own, rises=bool(risen))
        self._note(await self.rows.read())

    def _note(self, rows: list[Row]) -> None:
        others = [row for row in rows if row.source != self.rows.source]
        if {(row.source, row.variant, row.level) for row in others} != {
            (row.source, row.variant, row.level) for row in self._others
        }:
            self._tell()
        self._others = others

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()
