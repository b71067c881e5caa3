"""Makes a backup: the rows at one moment, then every picture that the target has not got yet, the manifest at the end.

Pictures are listed after the rows, so that whatever the rows name is in the list, unless it was deleted in between,
which it then would be in the restored gateway soon as well.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import URL, Connection, MetaData, Table, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from bowerbird import __version__
from bowerbird.errors import BackupInvalid, PictureLost
from bowerbird.gateway.backups.format import (
    BACKUPS,
    PART_BYTES,
    PICTURE_LIST,
    PICTURES,
    Manifest,
    Part,
    Rows,
    digest_of,
    line_of,
    manifest_key,
    name_of,
    packed,
)
from bowerbird.gateway.files.parts import FILES
from bowerbird.gateway.pictures import PictureStore
from bowerbird.gateway.records.database import patient_engine
from bowerbird.gateway.records.retention import JOB_PICTURES
from bowerbird.gateway.results.store import PREFIX as RESULTS

STORED = (JOB_PICTURES, FILES, RESULTS)
"""What lies in the picture store: the first name of each key."""
REVISION_TABLE = "alembic_version"
ROWS_AT_ONCE = 1000
COPIES_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Written:
    """What was done."""

    manifest: Manifest
    new_pictures: int
    """Copied now; the others lay there already."""


async def write_backup(url: URL, pictures: PictureStore, target: PictureStore, moment: datetime) -> Written:
    """The backup, complete; raises RecordsUnavailable, BackupInvalid, or the database's own errors."""
    name = name_of(moment)
    async with patiently(url, only_reads=True) as connection:
        tables = await connection.run_sync(tables_of)
        if not any(each.name == REVISION_TABLE for each in tables):
            raise BackupInvalid("There is nothing to back up: no gateway has made its tables in this database yet.")
        revision = str(await connection.scalar(text(f"SELECT version_num FROM {REVISION_TABLE}")))  # noqa: S608
        stored = {
            each.name: await _store(target, name, each.name, list(each.columns.keys()), _rows(connection, each))
            for each in tables
            if each.name != REVISION_TABLE
        }
    there = {key async for key in target.keys(PICTURES)}
    copied = _Copied(pictures, target, there)
    listed = await _store(target, name, PICTURE_LIST, ["key"], copied.keys())
    manifest = Manifest(name=name, release=__version__, revision=revision, tables=stored, pictures=listed)
    await target.put(manifest_key(name), manifest.model_dump_json().encode())
    return Written(manifest, copied.count)


@asynccontextmanager
async def patiently(url: URL, *, only_reads: bool) -> AsyncIterator[AsyncConnection]:
    """One transaction without bounds on its time, committed at the end."""
    engine = patient_engine(url, only_reads=only_reads)
    try:
        async with engine.begin() as connection:
            yield connection
    finally:
        await engine.dispose()


def tables_of(connection: Connection) -> list[Table]:
    """Every table that there is, those first that others refer to."""
    found = MetaData()
    found.reflect(connection)
    return found.sorted_tables


async def _rows(connection: AsyncConnection, table: Table) -> AsyncIterator[Sequence[Any]]:
    asked = select(table).order_by(*table.primary_key.columns)
    async for row in await connection.stream(asked, execution_options={"yield_per": ROWS_AT_ONCE}):
        yield row


async def _store(
    target: PictureStore, name: str, table: str, columns: list[str], rows: AsyncIterator[Sequence[Any]]
) -> Rows:
    """Writes rows as parts of bounded size."""
    parts, lines, size, count = list[Part](), list[bytes](), 0, 0

    async def write() -> None:
        body = await asyncio.to_thread(packed, lines)
        part = Part(key=f"{BACKUPS}{name}/{table}-{len(parts):05}.jsonl.gz", digest=digest_of(body))
        await target.put(part.key, body)
        parts.append(part)

    async for row in rows:
        lines.append(line_of(row))
        size, count = size + len(lines[-1]), count + 1
        if size >= PART_BYTES:
            await write()
            lines, size = [], 0
    if lines:
        await write()
    return Rows(columns=columns, count=count, parts=parts)


class _Copied:
    """Copies what is not there while it lists what is."""

    def __init__(self, source: PictureStore, target: PictureStore, there: set[str]) -> None:
        self._source = source
        self._target = target
        self._there = there
        self.count = 0

    async def keys(self) -> AsyncIterator[list[str]]:
        """Every picture, as a row; one that is deleted meanwhile is none."""
        async for some in in_groups(self._listed(), COPIES_AT_ONCE):
            for key, is_there in zip(some, await asyncio.gather(*map(self._copy, some)), strict=True):
                if is_there:
                    yield [key]

    async def _listed(self) -> AsyncIterator[str]:
        for prefix in STORED:
            async for key in self._source.keys(prefix):
                yield key

    async def _copy(self, key: str) -> bool:
        if PICTURES + key in self._there:
            return True
        try:
            await self._target.put(PICTURES + key, await self._source.get(key))
        except PictureLost:
            return False
        self.count += 1
        return True


async def in_groups(items: AsyncIterator[str], size: int) -> AsyncIterator[list[str]]:
    """The items, `size` at a time."""
    group: list[str] = []
    async for each in items:
        group.append(each)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group
