"""What a room says of the things that it keeps about people: how work on them ends, how they go, what they are.

`erasing` calls `stop` and `remove`, both as often as it takes: who carries an erasure may die anywhere in it, and
another begins again. `archive` reads `pages`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from sqlalchemy import ColumnElement, Table, delete, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from bowerbird.gateway.records.database import Database
from bowerbird.gateway.rights.subject import Subject

PAGE = 200
"""Rows of one transaction, and of one member of an archive."""

Count = Callable[[AsyncConnection, Mapping[str, int]], Awaitable[None]]
"""Writes down what is gone, in the transaction that removes it; raises where somebody else carries the erasure now."""


@dataclass(frozen=True, slots=True)
class Page:
    """Some rows, and the files that they name."""

    rows: Sequence[Mapping[str, Any]]
    """As JSON."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Name in the archive -> key in the picture store."""


class Holding(Protocol):
    """What one room keeps."""

    @property
    def kind(self) -> str:
        """What its things are called in counts and archives."""

    @property
    def tables(self) -> Sequence[str]:
        """Whose deleted rows must not stay in the database's files."""

    async def stop(self, subject: Subject) -> int:
        """Ends what is being done for them now; how many."""

    async def remove(self, subject: Subject, count: Count) -> None:
        """Removes everything of theirs that is not being worked on."""

    async def search(self) -> None:
        """Deletes files that no row names, whosever they were: what died while it wrote has left them."""

    def pages(self, subject: Subject) -> AsyncIterator[Page]:
        """Everything of theirs, a page at a time."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows that are nothing but rows: no work goes on for them, and no file belongs to them."""

    database: Database
    kind: str
    table: Table
    theirs: Callable[[Subject], ColumnElement[bool] | None]
    """Which of them are about somebody; None: none can be."""
    hidden: frozenset[str] = frozenset()
    """Columns that are nobody's to see, the subject included: digests, sealed secrets."""
    removes: bool = True
    """False where they stay; the archive shows them all the same."""

    @property
    def tables(self) -> Sequence[str]:
        """The one."""
        return [self.table.name] if self.removes else []

    async def stop(self, _: Subject) -> int:
        """Nothing."""
        return 0

    async def remove(self, subject: Subject, count: Count) -> None:
        """Page by page."""
        theirs = self.theirs(subject)
        if theirs is None or not self.removes:
            return
        names = list(self.table.primary_key)
        some = select(*names).where(theirs).limit(PAGE)
        removing = delete(self.table).where(tuple_(*names).in_(some)).returning(names[0])
        gone = PAGE
        while gone:
            async with self.database.writing() as connection:
                gone = len((await connection.execute(removing)).all())
                if gone:
                    await count(connection, {self.kind: gone})

    async def search(self) -> None:
        """Nothing."""

    async def pages(self, subject: Subject) -> AsyncIterator[Page]:
        """In the order of their key, so that a page begins where the one before ended."""
        theirs = self.theirs(subject)
        names = list(self.table.primary_key)
        last: tuple[Any, ...] | None = None
        while theirs is not None:
            asking = select(self.table).where(theirs).order_by(*names).limit(PAGE)
            if last is not None:
                asking = asking.where(tuple_(*names) > last)
            async with self.database.reading() as connection:
                rows = (await connection.execute(asking)).mappings().all()
            if not rows:
                return
            yield Page([self._shown(row) for row in rows])
            last = tuple(rows[-1][name.name] for name in names)

    def _shown(self, row: Mapping[Any, Any]) -> Mapping[str, Any]:
        shown = {name: row[name] for name in row if name not in self.hidden}
        return {name: _text(value) if isinstance(value, bytes) else value for name, value in shown.items()}


def _text(value: bytes) -> str:
    return value.decode("utf-8", "backslashreplace")
