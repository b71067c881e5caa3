"""Everything in this process that files need, opened and closed together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from bowerbird.errors import RecordsUnavailable
from bowerbird.gateway.files.file import File
from bowerbird.gateway.files.files import Files
from bowerbird.gateway.files.parts import FileParts
from bowerbird.gateway.files.persons import IsTheirs, PersonsLines
from bowerbird.gateway.files.sweep import FileSweep
from bowerbird.gateway.records.opening import Records
from bowerbird.settings import Settings

PAGE = 100
SWEEPER = "file_sweeper"
SWEEP_SECONDS = 60.0
ORPHAN_SWEEPS = 60
"""Every so many sweeps, all objects are looked at: what a crash left behind may lie there for an hour."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FileRoom:
    """The rows, the bytes, what is found in them, and what is removed."""

    records: Records
    files: Files
    persons: PersonsLines
    sweep: FileSweep

    @classmethod
    def of(cls, records: Records, settings: Settings) -> FileRoom:
        """A room in which nothing happens before `running()`."""
        database, pictures = records.database, records.pictures
        parts = FileParts(database, pictures)
        files = Files(database, pictures, records.keys, parts, settings.tenant_file_bytes)
        return cls(records, files, PersonsLines(database, parts), FileSweep(database, pictures))

    async def remove_tenant(self, tenant: str) -> int:
        """Removes every file of a tenant with its bytes; how many. Remove the tenant's batches before."""
        return await self.files.remove_tenant(tenant)

    async def erase_person(self, tenant: str, is_theirs: IsTheirs) -> int:
        """Erases what the tenant's files say about a person (`PersonsLines.erase`); how many lines."""
        return await self.persons.erase(tenant, is_theirs)

    def lines_of(self, tenant: str, is_theirs: IsTheirs) -> AsyncGenerator[bytes]:
        """What they say about a person, line by line."""
        return self.persons.lines(tenant, is_theirs)

    async def all_of(self, tenant: str) -> AsyncGenerator[tuple[File, AsyncGenerator[bytes]]]:
        """Every file of a tenant, oldest first, each with its bytes, a part at a time."""
        after: str | None = None
        while page := await self.files.page(tenant, PAGE, after, oldest_first=True):
            for file in page:
                yield file, self.files.parts.read(file.id)
            after = page[-1].id

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Sweeps until the context ends."""
        sweeping = asyncio.create_task(self._sweep_again_and_again())
        try:
            yield
        finally:
            sweeping.cancel()
            await asyncio.gather(sweeping, return_exceptions=True)

    async def _sweep_again_and_again(self) -> None:
        """One replica sweeps for all; its first sweep looks at all objects, since the one before it may have died."""
        sweeps = 0
        while True:
            try:
                if await self.records.leases.acquire(SWEEPER, self.records.owner, 3 * SWEEP_SECONDS):
                    await self.sweep.sweep()
                    if sweeps % ORPHAN_SWEEPS == 0:
                        await self.sweep.remove_orphans()
                    sweeps += 1
            except RecordsUnavailable:
                logger.warning("no files are swept while the records cannot be written")
            except Exception:  # a bug: the next sweep is tried all the same
                logger.exception("a sweep of files failed")
            await asyncio.sleep(SWEEP_SECONDS)
