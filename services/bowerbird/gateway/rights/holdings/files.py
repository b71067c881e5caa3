"""Files that a tenant uploaded or batches wrote for it, and the batches themselves.

Of a tenant all of it goes. Of a person the lines that name it are overwritten where they stand, in requests and in
answers; a batch that runs meanwhile may write one more, which the second round of an erasure finds.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

from sqlalchemy import select

from bowerbird.gateway.batches.room import BatchRoom
from bowerbird.gateway.batches.tables import batch_lines, batches
from bowerbird.gateway.files.room import FileRoom
from bowerbird.gateway.files.tables import file_parts, files
from bowerbird.gateway.records.database import Database
from bowerbird.gateway.records.people import People
from bowerbird.gateway.rights.holding import PAGE, Count, Page, Rows
from bowerbird.gateway.rights.subject import Subject

PAGE_BYTES = 4 * 1024**2
"""Of lines in one member of an archive: an answer's line holds its picture."""


class FileHolding:
    """All files of one database, with the batches that read and write them."""

    kind = "files"
    tables: Sequence[str] = [each.name for each in (files, file_parts, batches, batch_lines)]

    def __init__(self, database: Database, people: People, stored: FileRoom, running: BatchRoom) -> None:
        self._database = database
        self._people = people
        self._files = stored
        self._batches = running
        self._rows = Rows(database, self.kind, files, lambda subject: files.c.tenant == subject.tenant)

    async def stop(self, subject: Subject) -> int:
        """A tenant's batches end at once. A person's line goes on in its batch: it is found where its answer stands."""
        return await self._batches.remove_tenant(subject.tenant) if subject.person is None else 0

    async def remove(self, subject: Subject, count: Count) -> None:
        """Files, or lines of them."""
        if subject.person is None:
            gone, kind = await self._files.remove_tenant(subject.tenant), self.kind
        else:
            gone, kind = await self._files.erase_person(subject.tenant, self._is(subject)), "lines"
        if gone:
            async with self._database.writing() as connection:
                await count(connection, {kind: gone})

    async def search(self) -> None:
        """Objects that no row names."""
        await self._files.sweep.remove_orphans()

    async def pages(self, subject: Subject) -> AsyncIterator[Page]:
        """Files with the names of their parts in the archive, or a person's lines."""
        if subject.person is not None:
            async for page in self._lines(subject):
                yield page
            return
        async for page in self._rows.pages(subject):
            ids = [row["id"] for row in page.rows]
            asking = select(file_parts).where(file_parts.c.file_id.in_(ids), file_parts.c.bytes > 0)
            async with self._database.reading() as connection:
                parts = (await connection.execute(asking.order_by(file_parts.c.file_id, file_parts.c.number))).all()
            yield Page(page.rows, {f"files/{each.file_id}/{each.number:05}": each.key for each in parts})

    def _is(self, subject: Subject) -> Any:
        return lambda identifier: self._people.name(subject.flow, identifier) == subject.person

    async def _lines(self, subject: Subject) -> AsyncIterator[Page]:
        rows: list[dict[str, Any]] = []
        size = 0
        async for line in self._files.lines_of(subject.tenant, self._is(subject)):
            rows.append({"line": json.loads(line)})
            size += len(line)
            if len(rows) == PAGE or size > PAGE_BYTES:
                yield Page(rows)
                rows, size = [], 0
        if rows:
            yield Page(rows)


def of_tenants(database: Database) -> Sequence[Rows]:
    """Batches as rows; `FileHolding` removes them."""

    def theirs(subject: Subject) -> Any:
        return batches.c.tenant == subject.tenant if subject.person is None else None

    return (Rows(database, "batches", batches, theirs, removes=False),)
