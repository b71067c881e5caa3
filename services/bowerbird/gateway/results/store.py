"""Results in rows and files: found by name, put in by what they are worth, taken out when they expire or make room.

`results.Results` asks here; `swept` runs for as long as the gateway does. The order of things is what makes a crash
harmless: a row names its files before they are written and until they are deleted (`table`). The bytes of all rows, and
so of all files, are within `max_bytes` at every moment: room is made, and its files are gone, before a new row counts.

What a reader holds is checked: a file that is missing or altered makes its row leave, and the answer is "not found".
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from enum import Enum, auto
from functools import partial

from pydantic import ValidationError
from sqlalchemy import Column
from sqlalchemy.ext.asyncio import AsyncConnection

from bowerbird.errors import BowerbirdError, PictureLost
from bowerbird.gateway.pictures import PictureStore
from bowerbird.gateway.records.database import Database
from bowerbird.gateway.records.writer import Item, Outcome, Write, Writer
from bowerbird.gateway.results import rows
from bowerbird.gateway.results.key import Names
from bowerbird.gateway.results.metrics import Departure, ResultMetrics
from bowerbird.gateway.results.result import Facts, Result
from bowerbird.gateway.results.table import results
from bowerbird.gateway.rights.fence import any_erased, was_erased

PREFIX = "results/"
ID_BYTES = 16
ARRIVAL_SECONDS = 60.0
"""Within which a writer has written its files, or is taken for dead."""
SWEEP_SECONDS = 30.0
"""Between two rounds: uses are counted, what expired is removed."""
END_SECONDS = 5.0
"""For the last round, when the gateway ends."""
ROUNDS_PER_SEARCH = 120
"""Every so many rounds (an hour), and in the first, files that no row names are looked for."""
ATTEMPTS = 3
"""To find room: another replica may take what was made."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Keeping:
    """How much is kept, and for how long."""

    max_bytes: int
    ttl_seconds: float


@dataclass(frozen=True, slots=True)
class Owner:
    """For whom a result was drawn."""

    flow: str
    """The tenant's (`call.flow_of`)."""
    person: str | None
    """One of its end users, by the keyed name (`records.people`)."""
    began: float
    """When the request came that drew it, on this process' performance counter."""


@dataclass(frozen=True, slots=True)
class Found:
    """A result, and its row's id."""

    result: Result
    row_id: str


class _End(Enum):
    """What became of a row whose files were written."""

    READY = auto()
    ERASED = auto()
    """Its owner has asked for erasure since."""
    GIVEN_UP = auto()


class ResultStore:
    """The stored results of all replicas that share a database and a picture store."""

    def __init__(
        self,
        database: Database,
        pictures: PictureStore,
        keeping: Keeping,
        metrics: ResultMetrics,
        writer: Writer | None = None,
    ) -> None:
        self._database = database
        self._writer = writer
        self._pictures = pictures
        self._keeping = keeping
        self._metrics = metrics
        self._uses: Counter[str] = Counter()
        now = database.now()
        self._arrival_ends = now + round(ARRIVAL_SECONDS * 1000)
        self._result_ends = now + round(keeping.ttl_seconds * 1000)

    async def find(self, key: str) -> Found | None:
        """The result of this very recipe and seed, or None."""
        return await self._found(results.c.key, key)

    async def find_like(self, likeness: str) -> Found | None:
        """A result of this recipe with whatever seed, or None."""
        return await self._found(results.c.likeness, likeness)

    def count_use(self, row_id: str) -> None:
        """Notes that a result answered a request without being asked for here; `find` notes it by itself."""
        self._uses[row_id] += 1

    async def put(self, names: Names, cost: float, result: Result, owner: Owner | None = None) -> str | None:
        """Stores a result in the place of its namesake and gives its row's id.

        `cost` is what drawing it took, in compute units; without `owner` it is nobody's, and no erasure finds it. None
        when there is no room for it, or when its owner has asked for erasure since the request came. What is larger
        than the store makes nothing leave.
        """
        owner = owner or Owner("", None, time.perf_counter())
        arrival = _arrival(names, cost, result, owner)
        if not 0 < arrival.bytes <= self._keeping.max_bytes or not await self._reserved(arrival):
            return None
        files = files_of(arrival.id, arrival.pictures)
        # Not lasting: a file that a power cut spoils is found by its digest, and drawn again.
        put = partial(self._pictures.put, lasting=False)
        ends = await asyncio.gather(*map(put, files, result.pictures), return_exceptions=True)
        for failure in ends:  # all of them: after one nothing is written any more that the sweep has looked for
            if isinstance(failure, BaseException):
                raise failure
        end = await self._written(self._make_ready, (arrival, owner))
        if end is _End.ERASED:
            await self._remove_leaving()
        elif end is _End.GIVEN_UP:  # it took so long that a sweep has declared it dead, and may be through with it
            await self._pictures.delete(files)
        return arrival.id if end is _End.READY else None

    async def sweep(self) -> None:
        """Counts the uses since the last time, and removes what expired, had to leave, or was left half done."""
        async with self._database.writing(lasting=False) as connection:
            await self._count_uses(connection, await rows.locked(connection))
            expired = await rows.expire(connection, self._database.now())
        self._metrics.left(Departure.EXPIRED, expired)
        await self._remove_leaving()
        async with self._database.reading() as connection:
            self._metrics.holds((await rows.summed(connection)).bytes)

    async def search(self) -> int:
        """Deletes files that no row names; how many."""
        return await remove_unnamed(self._database, self._pictures)

    @asynccontextmanager
    async def swept(self) -> AsyncIterator[None]:
        """Sweeps now and every SWEEP_SECONDS until the context ends, and counts the last uses then."""
        ended = asyncio.Event()
        sweeping = asyncio.create_task(self._sweep_until(ended))
        try:
            yield
        finally:
            ended.set()  # not cancelled, unless it hangs: a connection is given back rather than broken
            await asyncio.wait({sweeping}, timeout=END_SECONDS)
            sweeping.cancel()
            await asyncio.gather(sweeping, return_exceptions=True)

    async def _was_erased(self, connection: AsyncConnection, owner: Owner) -> bool:
        return await was_erased(connection, owner.flow, owner.person, owner.began, self._database.now())

    async def _found(self, column: Column[str], name: str) -> Found | None:
        stored = await rows.found(self._database, column, name)
        if stored is None:
            return None
        try:
            bodies = await asyncio.gather(*(self._pictures.get(file) for file in files_of(stored.id, stored.pictures)))
            result = Result(Facts.model_validate_json(stored.facts), list(bodies))
        except (PictureLost, ValidationError):
            result = None
        if result is None or result.digest != stored.digest:
            await self._give_up(stored.id)
            return None
        self.count_use(stored.id)
        return Found(result, stored.id)

    async def _reserved(self, arrival: rows.Arrival) -> bool:
        """Whether a row for it could be put within the bound, after others have left for it where they must."""
        for _ in range(ATTEMPTS):
            if await self._written(self._reserve, arrival):
                return True
            async with self._database.writing(lasting=False) as connection:
                ledger = await rows.locked(connection)
                missing = ledger.bytes + arrival.bytes - self._keeping.max_bytes
                await self._count_uses(connection, ledger)
                evicted = await rows.evict(connection, missing, ledger.inflation)
            self._metrics.left(Departure.EVICTED, evicted)
            await self._remove_leaving()
        return False

    async def _reserve(self, connection: AsyncConnection, arrivals: Sequence[rows.Arrival]) -> list[bool]:
        """Which of them found room; the others must wait until something has left."""
        ledger = await rows.locked(connection)
        free, fits = self._keeping.max_bytes - ledger.bytes, list[bool]()
        for each in arrivals:
            fits.append(each.bytes <= free)
            free -= each.bytes if fits[-1] else 0
        placed = list(itertools.compress(arrivals, fits))
        await rows.reserve(connection, placed, ledger.inflation, self._arrival_ends)
        return fits

    async def _make_ready(
        self, connection: AsyncConnection, written: Sequence[tuple[rows.Arrival, Owner]]
    ) -> list[_End]:
        """What becomes of rows whose files are there."""
        await rows.locked(connection)
        began = min(owner.began for _, owner in written)
        lately = await any_erased(connection, began, self._database.now())
        erased = [arrival.id for arrival, owner in written if lately and await self._was_erased(connection, owner)]
        for row_id in erased:
            await rows.abandon(connection, row_id)
        arrivals = [arrival for arrival, _ in written if arrival.id not in erased]
        ready = await rows.make_ready(connection, arrivals, self._result_ends) if arrivals else ()
        return [
            _End.ERASED if each.id in erased else _End.READY if each.id in ready else _End.GIVEN_UP
            for each, _ in written
        ]

    async def _written(self, write: Write[Item, Outcome], item: Item) -> Outcome:
        """One write, in a transaction with others' where a writer makes such: of many pictures at a time."""
        if self._writer is not None:
            return await self._writer.submit(write, item, lasting=False)
        async with self._database.writing(lasting=False) as connection:
            return (await write(connection, [item]))[0]

    async def _remove_leaving(self) -> None:
        await remove_leaving(self._database, self._pictures)

    async def _give_up(self, row_id: str) -> None:
        """Its files are missing or altered: that is damage, unless it was made to leave since its row was read."""
        async with self._database.writing(lasting=False) as connection:
            await rows.locked(connection)
            damaged = await rows.give_up(connection, row_id)
        if damaged:
            logger.warning("a stored result is missing or altered and will not be used", extra={"result": row_id})
            self._metrics.left(Departure.DAMAGED, 1)

    async def _count_uses(self, connection: AsyncConnection, ledger: rows.Ledger) -> None:
        uses, self._uses = self._uses, Counter()
        await rows.count_uses(connection, uses, ledger.inflation)

    async def _sweep_until(self, ended: asyncio.Event) -> None:
        for round_number in itertools.count():
            last = ended.is_set()
            try:
                await self.sweep()
                if round_number % ROUNDS_PER_SEARCH == 0 and not last:
                    await self.search()
            except BowerbirdError as error:  # the database or the files are away: they are looked after when back
                logger.warning("stored results could not be swept", extra={"reason": error.message})
            except Exception:  # a bug must not end what keeps the store within its bounds, and must be seen
                logger.exception("stored results could not be swept")
            if last:
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(SWEEP_SECONDS):
                    await ended.wait()


async def remove_leaving(database: Database, pictures: PictureStore) -> None:
    """Deletes the files of what leaves, then its rows."""
    while True:
        async with database.reading() as connection:
            leaving = await rows.leaving(connection)
        if not leaving:
            return
        await pictures.delete([file for row_id, count in leaving for file in files_of(row_id, count)])
        async with database.writing() as connection:
            await rows.locked(connection)
            await rows.remove(connection, [row_id for row_id, _ in leaving])


async def remove_unnamed(database: Database, pictures: PictureStore) -> int:
    """Deletes files that no row names; how many. A row is there before its files, so whose row is gone stays lost.

    There are none unless a process was paused for more than ARRIVAL_SECONDS while it wrote, and then killed.
    """
    files = [file async for file in pictures.keys(PREFIX)]
    ids = sorted({_id_of(file) for file in files})
    known: set[str] = set()
    for at in range(0, len(ids), rows.PAGE):
        async with database.reading() as connection:
            known |= await rows.known(connection, ids[at : at + rows.PAGE])
    lost = [file for file in files if _id_of(file) not in known]
    if lost:
        await pictures.delete(lost)
        logger.warning("deleted files of results that no row names", extra={"files": len(lost)})
    return len(lost)


def _arrival(names: Names, cost: float, result: Result, owner: Owner) -> rows.Arrival:
    return rows.Arrival(
        id=secrets.token_hex(ID_BYTES),
        key=names.key,
        likeness=names.likeness,
        pictures=len(result.pictures),
        bytes=result.size_bytes,
        digest=result.digest,
        facts=result.facts.model_dump_json(),
        cost=cost,
        flow=owner.flow,
        person=owner.person,
    )


def files_of(row_id: str, pictures: int) -> list[str]:
    """Where the pictures of a row lie, in order."""
    return [f"{PREFIX}{row_id}-{number}" for number in range(pictures)]


def _id_of(file: str) -> str:
    return file.removeprefix(PREFIX).partition("-")[0]
