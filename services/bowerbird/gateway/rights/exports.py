"""Exports as rows: who asked for whose archive, and until when it is given. The archive itself is never kept.

It is made anew each time that it is fetched (`archive`), so that nothing of it is left to be erased later, and nobody
waits for it to be made. Asking and fetching are each an entry of the audit log.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, RowMapping, delete, insert, select

from bowerbird.errors import ExportUnknown
from bowerbird.gateway.identity.audit import AuditLog, Author, Change
from bowerbird.gateway.records.database import Database
from bowerbird.gateway.rights.erasures import id_of
from bowerbird.gateway.rights.subject import Subject
from bowerbird.gateway.rights.tables import exports

LIFETIME_SECONDS = 3_600
"""For which an archive may be fetched: whoever asked is there to do it."""


@dataclass(frozen=True, slots=True)
class Export:
    """The right to fetch an archive."""

    id: str
    tenant: str
    person: str | None
    created_ms: int
    expires_ms: int

    @property
    def subject(self) -> Subject:
        """Whose archive it is."""
        return Subject(self.tenant, self.person)


_SEEN = [exports.c[name] for name in Export.__slots__]


class Exports:
    """All exports of one database that can still be fetched."""

    def __init__(self, database: Database, audit: AuditLog) -> None:
        self._database = database
        self._audit = audit

    async def create(self, subject: Subject, author: Author) -> Export:
        """A new one."""
        async with self._database.writing() as connection:
            now_ms: int = await connection.scalar(select(self._database.now()))  # type: ignore[assignment]
            row = {
                "id": id_of("exp", now_ms),
                "tenant": subject.tenant,
                "flow": subject.flow,
                "person": subject.person,
                "actor": author.actor,
                "created_ms": now_ms,
                "expires_ms": now_ms + LIFETIME_SECONDS * 1000,
            }
            adding = insert(exports).values(**row).returning(*_SEEN)
            made = Export(**(await connection.execute(adding)).mappings().one())
            await self._audit.append(connection, _change(author, made, "export"))
        return made

    async def get(self, export_id: str, tenant: str | None) -> Export:
        """One export, of this tenant, or of any for None; raises ExportUnknown, also when its time is over."""
        asking = select(*_SEEN).where(exports.c.id == export_id, *self._alive(tenant))
        async with self._database.reading() as connection:
            return _found((await connection.execute(asking)).mappings().first())

    async def fetched(self, export_id: str, tenant: str | None, author: Author) -> Export:
        """The same for somebody who fetches its archive now, which is written down."""
        export = await self.get(export_id, tenant)
        async with self._database.writing() as connection:
            await self._audit.append(connection, _change(author, export, "fetch"))
        return export

    async def page(self, tenant: str | None, after: str | None, limit: int) -> list[Export]:
        """Up to `limit` exports, newest first, that are older than the one of this id."""
        asking = select(*_SEEN).where(*self._alive(tenant)).order_by(exports.c.id.desc()).limit(limit)
        if after is not None:
            asking = asking.where(exports.c.id < after)
        async with self._database.reading() as connection:
            return [Export(**row) for row in (await connection.execute(asking)).mappings()]

    async def delete(self, export_id: str, tenant: str | None) -> Export:
        """Ends one before its time; raises ExportUnknown."""
        removing = delete(exports).where(exports.c.id == export_id, *self._alive(tenant)).returning(*_SEEN)
        async with self._database.writing() as connection:
            return _found((await connection.execute(removing)).mappings().first())

    async def sweep(self) -> None:
        """Removes those whose time is over."""
        async with self._database.writing() as connection:
            await connection.execute(delete(exports).where(exports.c.expires_ms <= self._database.now()))

    def _alive(self, tenant: str | None) -> Sequence[ColumnElement[bool]]:
        alive = exports.c.expires_ms > self._database.now()
        return [alive] if tenant is None else [alive, exports.c.tenant == tenant]


def _change(author: Author, export: Export, what: str) -> Change:
    kind = "tenant" if export.person is None else "person"
    return author.change(f"{kind}.{what}", export.id, None, {"tenant": export.tenant, "person": export.person})


def _found(row: RowMapping | None) -> Export:
    if row is None:
        raise ExportUnknown("There is no export of this id, or its time is over.", param="export")
    return Export(**row)
