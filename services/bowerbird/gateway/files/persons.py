"""What a tenant's files say about one person: the lines whose request names it, and the answers to those.

A person is a `safety_identifier` (or `user`, its older name), as everywhere. They are found by reading, since nothing
about a line is kept beside the line: the files of a tenant are read through, and what is found is erased in place.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import suppress
from typing import Any

from sqlalchemy import select

from bowerbird.errors import RecordsUnavailable
from bowerbird.gateway.files.jsonl import RawLine, lines_of
from bowerbird.gateway.files.parts import Erasure, FileParts, PartOvertaken
from bowerbird.gateway.files.tables import files
from bowerbird.gateway.records.database import Database

ERASED = "erased"
"""The field of a line that says why the rest of it is gone."""
MAX_LINE_BYTES = 64 * 1024**2
AT_ONCE = 200
"""Lines that are erased together: each touches a part or two, and many of them the same."""
TRIES = 10

IsTheirs = Callable[[str], bool]


def erased(length: int, why: str, custom_id: str | None = None) -> bytes:
    """A line of exactly this length that says that it was erased, and nothing of what it was but its name."""
    for facts in ({"custom_id": custom_id, ERASED: why}, {ERASED: why}, {}):
        text = json.dumps(facts, ensure_ascii=False).encode()
        if len(text) <= length and facts.get("custom_id", "") is not None:
            return text.ljust(length)
    return b" " * length


class PersonsLines:
    """Finds and erases lines about a person; `is_theirs` says of an identifier whether it is the person's."""

    def __init__(self, database: Database, parts: FileParts) -> None:
        self._database = database
        self._parts = parts

    async def lines(self, tenant: str, is_theirs: IsTheirs) -> AsyncGenerator[bytes]:
        """Every line about the person in all files of the tenant, as it stands there."""
        for file_id in await self._files(tenant):
            async for line in self._found(file_id, is_theirs):
                yield line.content or b""

    async def erase(self, tenant: str, is_theirs: IsTheirs) -> int:
        """Erases those lines, files that are still written included; how many. May be called again.

        A batch that runs meanwhile finds such a line erased, or has it in hand already: end the tenant's batches that
        may name the person before, or call this once more after they ended.
        """
        count = 0
        for file_id in await self._files(tenant):
            some: list[Erasure] = []
            async for line in self._found(file_id, is_theirs):
                some.append(Erasure(line.start, erased(line.length, "person")))
                if len(some) == AT_ONCE:
                    await self._erase(file_id, some)
                    count, some = count + len(some), []
            await self._erase(file_id, some)
            count += len(some)
        return count

    async def _files(self, tenant: str) -> list[str]:
        asking = select(files.c.id).where(files.c.tenant == tenant).order_by(files.c.id)
        async with self._database.reading() as connection:
            return list((await connection.execute(asking)).scalars())

    async def _found(self, file_id: str, is_theirs: IsTheirs) -> AsyncGenerator[RawLine]:
        async for line in lines_of(self._parts.read(file_id), MAX_LINE_BYTES):
            if line.content is not None and any(is_theirs(each) for each in _persons(line.content)):
                yield line

    async def _erase(self, file_id: str, erasures: Sequence[Erasure]) -> None:
        """Replaces these ranges of a file; raises RecordsUnavailable when others do so all the time."""
        for _ in range(TRIES if erasures else 0):
            rewritten = await self._parts.rewrite(file_id, erasures)
            with suppress(PartOvertaken):
                async with self._database.writing() as connection:
                    await self._parts.swap(connection, rewritten)
                await self._parts.forget(rewritten)
                return
        if erasures:
            raise RecordsUnavailable("A file is being written by others; try again.", retry_after_seconds=1)


def _persons(line: bytes) -> set[str]:
    """Whom a line is about: `body` of a request, `response.body` of an answer; nobody where it cannot be read."""
    try:
        read = json.loads(line)
    except (ValueError, RecursionError):
        return set()
    found: set[str] = set()
    for body in (_inside(read, "body"), _inside(_inside(read, "response"), "body")):
        found |= {name for field in ("safety_identifier", "user") if isinstance(name := _inside(body, field), str)}
    return found


def _inside(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None
