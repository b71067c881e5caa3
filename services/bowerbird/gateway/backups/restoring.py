"""Puts a backup back: its pictures, then its rows in one transaction. Whatever stops it, it can be begun again.

The database has to be empty: it may be migrated, and a gateway may have started on it once, but nobody has tenants,
jobs or anything else there, and no gateway runs on it now. Its tables are made anew at the backup's revision, filled,
and migrated to this release's.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from itertools import islice

from sqlalchemy import URL, Connection, Table, inspect, text
from sqlalchemy.ext.asyncio import AsyncConnection

from bowerbird.errors import BackupInvalid, DatabaseNotEmpty, PictureLost
from bowerbird.gateway.backups.format import (
    BACKUPS,
    MANIFEST,
    PICTURES,
    Manifest,
    Rows,
    manifest_key,
    read_manifest,
    unpacked,
)
from bowerbird.gateway.backups.writing import (
    COPIES_AT_ONCE,
    REVISION_TABLE,
    ROWS_AT_ONCE,
    STORED,
    in_groups,
    patiently,
    tables_of,
)
from bowerbird.gateway.pictures import PictureStore
from bowerbird.gateway.records.migrations import NEWEST, upgrade

LATEST = "latest"
LEFT_BY_NOBODY = frozenset(
    {REVISION_TABLE, "revisions", "results_ledger", "secrets", "leases", "demand", "stage_descriptions"}
)
"""Tables in which a gateway that has served nobody has rows."""
_LOCK = 0x726573746F7265  # "restore": gateways that start together restore once


async def backups_in(source: PictureStore) -> list[str]:
    """Names of those that are complete, oldest first."""
    ending = f"/{MANIFEST}"
    keys = [key async for key in source.keys(BACKUPS)]
    return sorted(key.removeprefix(BACKUPS).removesuffix(ending) for key in keys if key.endswith(ending))


async def manifest_in(source: PictureStore, name: str) -> Manifest:
    """What a backup says of itself, `latest` the newest; raises BackupInvalid where there is none."""
    if name == LATEST:
        names = await backups_in(source)
        if not names:
            raise BackupInvalid("There is no backup.")
        name = names[-1]
    try:
        return read_manifest(await source.get(manifest_key(name)))
    except (PictureLost, ValueError) as error:
        raise BackupInvalid(f"There is no backup {name!r}.") from error


async def restore_backup(url: URL, pictures: PictureStore, source: PictureStore, name: str) -> Manifest:
    """The backup that is there now; raises DatabaseNotEmpty, BackupInvalid, RecordsUnavailable or the database's own
    errors, and then the database is as it was."""
    manifest = await manifest_in(source, name)
    if manifest.revision > NEWEST:  # four digits, and only ever more
        raise BackupInvalid(
            f"The backup {manifest.name} is of release {manifest.release}, whose tables this one does not know: let "
            "that release restore it, or a later one."
        )
    async with patiently(url, only_reads=False) as connection:
        await connection.run_sync(require_empty)
    await _restore_pictures(pictures, source, manifest.pictures)
    async with patiently(url, only_reads=False) as connection:
        await connection.run_sync(_make_tables, manifest.revision)
        tables = {each.name: each for each in await connection.run_sync(tables_of)}
        if unknown := sorted(manifest.tables.keys() - tables.keys()):
            raise BackupInvalid(f"The backup has a table {unknown[0]!r} that revision {manifest.revision} has not.")
        for table in tables.values():
            if rows := manifest.tables.get(table.name):
                await _fill(connection, table, rows, source)
        await connection.run_sync(upgrade)
    return manifest


async def _fill(connection: AsyncConnection, table: Table, rows: Rows, source: PictureStore) -> None:
    count = 0
    for part in rows.parts:
        read = iter(unpacked(part, await _get(source, part.key)))
        while some := list(islice(read, ROWS_AT_ONCE)):
            await connection.execute(table.insert(), [dict(zip(rows.columns, row, strict=True)) for row in some])
            count += len(some)
    if count != rows.count:
        raise BackupInvalid(f"The backup has {count} rows of {table.name}, and says {rows.count}.")


def require_empty(connection: Connection) -> None:
    """Raises DatabaseNotEmpty; until the transaction ends nobody else restores into this database."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    names = inspect(connection).get_table_names()
    if names and REVISION_TABLE not in names:
        raise DatabaseNotEmpty(f"The database has a table {names[0]!r}, which is none of a gateway's.")
    for name in sorted(set(names) - LEFT_BY_NOBODY):
        if connection.execute(text(f'SELECT 1 FROM "{name}" LIMIT 1')).first():  # noqa: S608 - the database's own name
            raise DatabaseNotEmpty(f"The database has rows in {name}: a backup is put into an empty one only.")
    if "leases" in names:
        holds = text("SELECT owner FROM leases WHERE until_ms > :now")
        if owner := connection.scalar(holds, {"now": time.time() * 1000}):
            raise DatabaseNotEmpty(f"A gateway runs on this database, {owner}: stop it, or wait for half a minute.")


def _make_tables(connection: Connection, revision: str) -> None:
    """Those of a revision, without a row."""
    require_empty(connection)
    is_postgresql = connection.dialect.name == "postgresql"
    for name in inspect(connection).get_table_names():
        connection.execute(text(f'DROP TABLE "{name}"{" CASCADE" if is_postgresql else ""}'))
    if is_postgresql:
        _drop_functions(connection)
    upgrade(connection, revision)
    for name in sorted(LEFT_BY_NOBODY.intersection(inspect(connection).get_table_names()) - {REVISION_TABLE}):
        connection.execute(text(f'DELETE FROM "{name}"'))  # noqa: S608 - what the migrations put there


def _drop_functions(connection: Connection) -> None:
    """What triggers of the tables called."""
    own = text(
        "SELECT oid::regprocedure::text FROM pg_proc WHERE pronamespace = current_schema()::regnamespace "
        "AND prorettype = 'trigger'::regtype AND NOT EXISTS "
        "(SELECT 1 FROM pg_depend WHERE objid = pg_proc.oid AND deptype = 'e')"
    )
    for name in connection.scalars(own).all():
        connection.execute(text(f"DROP FUNCTION {name}"))


async def _restore_pictures(pictures: PictureStore, source: PictureStore, listed: Rows) -> None:
    there = {key for prefix in STORED for key in [each async for each in pictures.keys(prefix)]}

    async def missing() -> AsyncIterator[str]:
        for part in listed.parts:
            for (key,) in unpacked(part, await _get(source, part.key)):
                if key not in there:
                    yield key

    async def copy(key: str) -> None:
        await pictures.put(key, await _get(source, PICTURES + key))

    async for some in in_groups(missing(), COPIES_AT_ONCE):
        await asyncio.gather(*map(copy, some))


async def _get(source: PictureStore, key: str) -> bytes:
    try:
        return await source.get(key)
    except PictureLost as error:
        raise BackupInvalid(f"The backup is not complete: {key} is gone.") from error
