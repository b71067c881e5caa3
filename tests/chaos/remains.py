"""What is left when the processes have ended: rows, files, texts.

A process that is killed leaves files that no row names yet, or rows whose files were to come; the sweepers remove
those, within the hour that the longest of them waits. So what is left is looked at twice: as it is, and as it is when
the sweepers have been through two hours from now, which is done here at once with the clock put forward. What is left
then belongs to something, or is an orphan.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import re2
from prometheus_client import CollectorRegistry
from sqlalchemy import BigInteger, MetaData, literal, select
from sqlalchemy.ext.asyncio import AsyncConnection

from bowerbird.gateway.pictures import PictureStore, open_pictures
from bowerbird.gateway.pictures.folder import INCOMING
from bowerbird.gateway.records.database import Database, database_url, open_database
from bowerbird.gateway.records.retention import Retention
from bowerbird.gateway.records.writer import Writer
from bowerbird.gateway.results.metrics import ResultMetrics
from bowerbird.gateway.results.store import Keeping, ResultStore

from .plan import Operation
from .prompts import SYLLABLES, WORD_SYLLABLES
from .stack import Stack

HOURS_LATER_MS = 2 * 3_600_000
RETENTION_SECONDS = 86_400.0
PREFIXES = ("jobs/", "results/")
NOT_SEARCHED = frozenset({"cache", "bentoml"})
"""Folders of the state folder that hold compiled graphs and other programs' stores: hundreds of megabytes."""
UNWRITTEN = "usage was not written down"
DATABASE_FILES = re.compile(r"records\.sqlite")

_WORDS = re2.compile(b"(?i)(?:%s){%d}" % ("|".join(SYLLABLES).encode(), WORD_SYLLABLES))
"""By RE2: in tens of megabytes of a database's files, Python's own engine would look for a minute."""
_PERSONAL = b"@example.org"

Rows = Mapping[str, Sequence[Mapping[str, Any]]]


@dataclass(frozen=True, slots=True)
class Remains:
    """What was found."""

    rows: Rows
    """Every row of every table, after the sweep."""
    files: Mapping[str, str]
    """Key in the picture store -> SHA-256, after the sweep."""
    swept_files: int
    """That a crash had left, and the sweep removed."""
    drafts: int
    """Files that were being written when their writer died, which the sweep did not remove."""
    texts: Sequence[str]
    """Where a text was found that must not be there."""
    processes: Sequence[str]
    unwritten_lines: int
    """Log lines in which a gateway says that it could not write an entry of usage down."""


async def look_at(stack: Stack, operations: Sequence[Operation]) -> Remains:
    """Everything that is left of a run whose processes have ended."""
    url = database_url(stack.environment.get("BOWERBIRD_DATABASE_URL"), stack.home)
    pictures = _pictures(stack)
    words = _Words(operations)
    processes = stack.left_over()
    async with open_database(url, lambda: literal(round(time.time() * 1000) + HOURS_LATER_MS, BigInteger)) as database:
        texts = list(words.in_rows(await _rows(database)))
        before = await _files(pictures)
        await _sweep(database, pictures)
        rows, files = await _rows(database), await _files(pictures)
        drafts = await _drafts(pictures)
    texts += await asyncio.to_thread(lambda: list(words.in_files(stack.folder)))
    if stack.postgresql is not None:
        texts += words.in_files(stack.postgresql.data)
    return Remains(rows, files, len(before) - len(files), drafts, texts, processes, _unwritten_lines(stack.home))


async def _sweep(database: Database, pictures: PictureStore) -> None:
    """What the gateways' sweepers do by themselves, minutes to an hour later."""
    writer = Writer(database)
    async with writer.running():
        retention = Retention(database, writer, pictures, RETENTION_SECONDS)
        await retention.sweep()
        await retention.remove_orphans()
    results = ResultStore(database, pictures, Keeping(1 << 30, 30 * 86_400.0), ResultMetrics(CollectorRegistry()))
    await results.sweep()
    await results.search()
    for draft in _incoming(pictures):
        os.utime(draft, (0, 0))
    await pictures.remove_unfinished()


async def _rows(database: Database) -> Rows:
    """Every row of every table there is, whoever made it."""

    async with database.reading() as connection:
        tables = await connection.run_sync(_reflected)
        return {name: await _all(connection, table) for name, table in tables.items()}


def _reflected(connection: Any) -> Mapping[str, Any]:
    metadata = MetaData()
    metadata.reflect(connection)
    return dict(metadata.tables)


async def _all(connection: AsyncConnection, table: Any) -> list[Mapping[str, Any]]:
    return [dict(row) for row in (await connection.execute(select(table))).mappings()]


async def _files(pictures: PictureStore) -> Mapping[str, str]:
    keys = [key for prefix in PREFIXES async for key in pictures.keys(prefix)]
    return {key: hashlib.sha256(await pictures.get(key)).hexdigest() for key in keys}


async def _drafts(pictures: PictureStore) -> int:
    return len(_incoming(pictures))


def _incoming(pictures: PictureStore) -> list[Path]:
    root = getattr(pictures, "_root", None)
    return [] if root is None else list((root / INCOMING).iterdir())


def _pictures(stack: Stack) -> PictureStore:
    """The run's picture store; the library that speaks S3 reads where and who from the environment."""
    stated = {name: value for name, value in stack.environment.items() if name.startswith("AWS_")}
    before = dict(os.environ)
    os.environ.update(stated)
    try:
        return open_pictures(stack.environment.get("BOWERBIRD_PICTURES_URL"), stack.home)
    finally:
        for name in stated.keys() - before.keys():
            del os.environ[name]


def _unwritten_lines(home: Path) -> int:
    logs = (home / "logs").glob("gateway*.log*")
    return sum(file.read_text(encoding="utf-8", errors="replace").count(UNWRITTEN) for file in logs)


class _Words:
    """The words of all prompts, and where each may stand: a job's, redacted, in its row; others nowhere."""

    def __init__(self, operations: Sequence[Operation]) -> None:
        self._nowhere: dict[str, str] = {}
        self._in_jobs: dict[str, str] = {}
        for each in operations:
            if each.recipe is None:
                self._nowhere[each.word.lower()] = each.kind
            else:
                (self._in_jobs if each.kind.keeps else self._nowhere)[each.recipe.word.lower()] = each.kind

    def in_rows(self, rows: Rows) -> Iterator[str]:
        """Texts in rows that must not be there."""
        for table, of_table in rows.items():
            for row in of_table:
                for column, value in row.items():
                    raw = value if isinstance(value, bytes) else str(value).encode()
                    for kind in self._found(raw, may_hold_jobs=table == "jobs" and column in ("request", "result")):
                        yield f"a prompt of the kind {kind} stands in {table}.{column}"

    def in_files(self, folder: Path) -> Iterator[str]:
        """Texts in files that must not be there; a database's own files hold what its rows do."""
        for path, folders, names in os.walk(folder):
            folders[:] = [each for each in folders if each not in NOT_SEARCHED]
            for name in names:
                file = Path(path) / name
                if not file.is_file() or file.is_symlink():
                    continue
                of_database = bool(DATABASE_FILES.match(name)) or folder.name == "data"
                for kind in self._found(file.read_bytes(), may_hold_jobs=of_database):
                    yield f"a prompt of the kind {kind} stands in {file.relative_to(folder)}"

    def _found(self, raw: bytes, *, may_hold_jobs: bool) -> Iterator[str]:
        for match in _WORDS.finditer(raw):
            word = match.group(0).decode().lower()
            if word in self._nowhere:
                yield self._nowhere[word]
            elif word in self._in_jobs and not may_hold_jobs:
                yield self._in_jobs[word]
        if _PERSONAL in raw:
            yield "personal data"
