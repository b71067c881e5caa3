"""Pictures for a request that safety has allowed: stored ones where they are right, else drawn, once, and stored.

`story.tell` asks here between the verdict on the prompt and the queue: a hit needs no slot and no model, and a prompt
that the present policy refuses never gets this far. What may be given is said by the plan (`Lookup`):

    seed   the stored answer to the same recipe and seed: the same bytes
    any    a stored answer to the same recipe, whatever its seed
    none   nothing: it is drawn, and stored, in the place of what was there

Neither the store nor its database is needed to draw: a look-up or a store that fails or takes too long is counted, and
the request goes on without. Results are stored after the answer has left; they are found in memory at once. Who draws
what several ask for at once is said by `flights`, and by `claims` where there are several replicas.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final, Literal

from bowerbird.contracts import WorkClass
from bowerbird.errors import BowerbirdError, ImageRefused, RequestInvalid
from bowerbird.gateway.results.claims import Claims
from bowerbird.gateway.results.flights import Flights
from bowerbird.gateway.results.key import Names, Recipe
from bowerbird.gateway.results.lookup import Lookup
from bowerbird.gateway.results.memory import Memory, Remembered
from bowerbird.gateway.results.metrics import ResultMetrics, Source
from bowerbird.gateway.results.result import Result
from bowerbird.gateway.results.store import Owner, ResultStore

LOOK_UP_SECONDS: Mapping[WorkClass, float] = {WorkClass.INTERACTIVE: 1.0, WorkClass.BATCH: 30.0}
"""More than a hundred times what a look-up takes; then drawing is surer for who waits. Nobody waits for a batch, and
what keeps a look-up so long (a machine that is too busy) is not made better by drawing what is there."""
STORE_SECONDS = 30.0
END_SECONDS = 5.0
"""For what is still to be stored when the gateway ends."""
NOT_STORED: Final = "no"
Storing = asyncio.Task[bool] | Literal["no"] | None
MAX_ARRIVING_BYTES = 64 * 1024 * 1024
"""Pictures that wait to be stored; what exceeds it is answered and not stored."""

logger = logging.getLogger(__name__)


def _nothing() -> None:
    pass


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a request asks for, and how."""

    recipe: Recipe
    seed: int
    """What is drawn with if it must be drawn."""
    lookup: Lookup
    cost: float
    """Of drawing it, in compute units."""
    work_class: WorkClass = WorkClass.INTERACTIVE
    """Nobody interactive waits for the drawing of a batch."""
    person: str | None = None
    """For which of the tenant's end users (`records.people`)."""
    began: float = field(default_factory=time.perf_counter)
    """When the request came, on this process' performance counter."""


@dataclass(frozen=True, slots=True)
class Given:
    """A result, and where it came from."""

    result: Result
    source: Source
    storing: Storing = field(default=None, compare=False)
    """Whether it can be stored, which is known at the end of this; NOT_STORED: it is not; None: it is stored."""
    name: str = field(default="", compare=False)
    """By which it was found in memory or in the store."""

    async def is_stored(self) -> bool:
        """Whether others will find it; waits until that is known."""
        if isinstance(self.storing, asyncio.Task):
            return await asyncio.shield(self.storing)
        return self.storing is None


class Results:
    """What one gateway process stores and draws; `store` is None where nothing is to be stored."""

    def __init__(
        self,
        store: ResultStore | None,
        secret: bytes,
        metrics: ResultMetrics,
        memory: Memory | None = None,
        claims: Claims | None = None,
    ) -> None:
        self._store = store
        self._claims = claims
        self._secret = secret
        self._metrics = metrics
        self._memory = memory or Memory()
        self._flights: Flights[Given] = Flights()
        self._storing: dict[asyncio.Task[bool], int] = {}
        self._arriving: dict[str, asyncio.Task[bool]] = {}
        """By name, what is being stored."""
        self.on_forget: Callable[[], None] = _nothing
        """Is told when memory is emptied, so that what was made of it goes too."""

    @property
    def stores(self) -> bool:
        """Whether anything is kept here, so that a request may ask for it."""
        return self._store is not None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Looks after what is stored until the context ends, and stores what is still to be stored then."""
        if self._store is None:
            yield
            return
        async with self._store.swept(), self._claims.running() if self._claims else nullcontext():
            try:
                yield
            finally:
                await self.settled()

    def forget(self) -> None:
        """Empties this process' memory: what may be given is asked of the store again."""
        self._memory.clear()
        self.on_forget()

    def remembered(self, name: str) -> Remembered | None:
        """What is stored and in this process' memory, by the name under which it was given before (`Given.name`)."""
        found = self._memory.get(name)
        return found if found is not None and found.row_id is not None else None

    def gave(self, remembered: Remembered, *, any_seed: bool) -> None:
        """Counts an answer that was made of what is remembered, and not through `give`."""
        if self._store is not None and remembered.row_id is not None:
            self._store.count_use(remembered.row_id)
        self._metrics.answered(Source.STORED, any_seed=any_seed)

    async def settled(self) -> None:
        """Waits until what was answered so far is stored, or END_SECONDS."""
        if self._storing:
            await asyncio.wait(self._storing, timeout=END_SECONDS)

    async def give(self, wanted: Wanted, draw: Callable[[], Awaitable[Result]]) -> Given:
        """What is wanted, stored or drawn by `draw`; raises what `draw` raises (`flights` says whose)."""
        names = wanted.recipe.names(self._secret, wanted.seed)
        if wanted.lookup is Lookup.NONE:
            result = await draw()
            given = Given(result, Source.FRESH, self._keep(wanted, names, result) or NOT_STORED)
        else:
            given = await self._once(wanted, names, draw)
        self._metrics.answered(given.source, any_seed=wanted.lookup is Lookup.ANY)
        return given

    async def _once(self, wanted: Wanted, names: Names, draw: Callable[[], Awaitable[Result]]) -> Given:
        any_seed = wanted.lookup is Lookup.ANY
        name = names.likeness if any_seed else names.key
        # Another seed may pass where this one's picture was refused; the request itself stays what it is.
        final = (RequestInvalid,) if any_seed else (RequestInvalid, ImageRefused)
        flight = f"{wanted.work_class} {name}"
        look_up = partial(self._found, name, any_seed, LOOK_UP_SECONDS[wanted.work_class])

        async def found_or_drawn() -> Given:
            if (found := await look_up()) is not None:
                return Given(found, Source.STORED, self._storing_of(wanted, names, found), name)
            if self._claims is not None:
                found = await self._claims.found_or_claimed(flight, look_up)
                if found is not None:
                    return Given(found, Source.SHARED)
            storing = None
            try:
                result = await draw()
                storing = self._keep(wanted, names, result)
            finally:
                self._release(flight, storing)
            return Given(result, Source.DRAWN, storing or NOT_STORED)

        landed = await self._flights.once(flight, found_or_drawn, final)
        if landed.led or landed.value.source is Source.STORED:
            return landed.value
        return replace(landed.value, source=Source.SHARED)

    async def _found(self, name: str, any_seed: bool, patience_seconds: float) -> Result | None:
        if self._store is None:
            return None
        remembered = self._memory.get(name)
        if remembered is not None:
            if remembered.row_id is not None:
                self._store.count_use(remembered.row_id)
            return remembered.result
        try:
            async with asyncio.timeout(patience_seconds):
                found = await (self._store.find_like(name) if any_seed else self._store.find(name))
        except (BowerbirdError, TimeoutError) as error:
            self._failed("look_up", error)
            return None
        if found is None:
            return None
        self._memory.put(name, found.result, found.row_id)
        return found.result

    def _keep(self, wanted: Wanted, names: Names, result: Result) -> asyncio.Task[bool] | None:
        """Has what was drawn found from now on; the task that stores it, if it is stored."""
        if self._store is None or not result.is_of(wanted.recipe):
            return None
        for name in (names.key, names.likeness):
            self._memory.put(name, result)
        if sum(self._storing.values()) + result.size_bytes > MAX_ARRIVING_BYTES:
            self._failed("store", None)
            return None
        task = asyncio.create_task(self._stored(self._store, names, wanted, result))
        self._storing[task] = result.size_bytes
        self._arriving |= dict.fromkeys((names.key, names.likeness), task)
        task.add_done_callback(partial(self._arrived, names))
        return task

    def _storing_of(self, wanted: Wanted, names: Names, found: Result) -> Storing:
        """What there is to wait for until what was found is stored; what could not be stored before is stored again."""
        name = names.likeness if wanted.lookup is Lookup.ANY else names.key
        if (task := self._arriving.get(name)) is not None:
            return task
        remembered = self._memory.get(name)
        if remembered is None or remembered.result is not found or remembered.row_id is not None:
            return None
        again = None if wanted.lookup is Lookup.ANY else self._keep(wanted, names, found)  # any: its seed is another
        return again or NOT_STORED

    def _arrived(self, names: Names, task: asyncio.Task[bool]) -> None:
        del self._storing[task]
        for name in (names.key, names.likeness):
            if self._arriving.get(name) is task:
                del self._arriving[name]

    def _release(self, flight: str, storing: asyncio.Task[bool] | None) -> None:
        """Lets other replicas draw it, once they would find it."""
        if (claims := self._claims) is None:
            return
        if storing is None:
            claims.release(flight)
        else:
            storing.add_done_callback(lambda _: claims.release(flight))

    async def _stored(self, store: ResultStore, names: Names, wanted: Wanted, result: Result) -> bool:
        owner = Owner(wanted.recipe.tenant, wanted.person, wanted.began)
        try:
            async with asyncio.timeout(STORE_SECONDS):
                row_id = await store.put(names, wanted.cost, result, owner)
        except (BowerbirdError, TimeoutError) as error:
            self._failed("store", error)
            return False
        for name in (names.key, names.likeness):
            remembered = self._memory.get(name)
            if remembered is None or remembered.result is not result:
                continue
            if row_id is None:  # it is not kept, so it is not to be given either
                self._memory.forget(name)
            else:
                self._memory.put(name, result, row_id)
        return row_id is not None

    def _failed(self, what: str, error: BowerbirdError | TimeoutError | None) -> None:
        self._metrics.failed(what)
        reason = error.message if isinstance(error, BowerbirdError) else "too slow" if error else "too many at once"
        logger.warning("the result store failed", extra={"what": what, "reason": reason})
