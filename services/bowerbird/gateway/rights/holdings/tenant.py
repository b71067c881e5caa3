"""What is a tenant's alone: its usage, its keys, and the tenant itself.

Usage by day stays, as bills do, under an id that names no person; of single requests nothing stays. The tenant's row
stays, disabled, for its id must never come to mean somebody else (`identity.tenants`); its name goes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from sqlalchemy import ColumnElement, select, update

from bowerbird.gateway.identity.tables import access_keys, tenants
from bowerbird.gateway.records.database import Database
from bowerbird.gateway.records.tables import usage_days, usage_entries
from bowerbird.gateway.records.usage import Usage
from bowerbird.gateway.rights.holding import Count, Page, Rows
from bowerbird.gateway.rights.subject import Subject


class UsageHolding:
    """Usage: shown by day and by request; only the days stay."""

    kind = "usage_entries"
    tables: Sequence[str] = [usage_entries.name]

    def __init__(self, database: Database, usage: Usage) -> None:
        self._database = database
        self._usage = usage
        self._entries = Rows(database, self.kind, usage_entries, lambda each: _theirs(usage_entries.c.tenant, each))

    async def stop(self, _: Subject) -> int:
        """Nothing."""
        return 0

    async def remove(self, subject: Subject, count: Count) -> None:
        """What single requests took becomes part of their day's sum."""
        if subject.person is not None:
            return
        while folded := await self._usage.fold(subject.tenant):
            async with self._database.writing() as connection:
                await count(connection, {self.kind: folded})

    async def search(self) -> None:
        """Nothing."""

    def pages(self, subject: Subject) -> AsyncIterator[Page]:
        """Entries that no day has yet; the days are rows of their own."""
        return self._entries.pages(subject)


class TenantHolding:
    """The tenant's row."""

    kind = "tenant"
    tables: Sequence[str] = [tenants.name]

    def __init__(self, database: Database) -> None:
        self._database = database

    async def stop(self, subject: Subject) -> int:
        """Its keys open nothing, also where somebody enabled it again meanwhile."""
        if subject.person is not None:
            return 0
        disabling = update(tenants).where(tenants.c.id == subject.tenant, tenants.c.disabled_ms.is_(None))
        async with self._database.writing() as connection:
            return (await connection.execute(disabling.values(disabled_ms=self._database.now()))).rowcount

    async def remove(self, subject: Subject, count: Count) -> None:
        """Its name for people becomes its id."""
        if subject.person is not None:
            return
        naming = update(tenants).where(tenants.c.id == subject.tenant, tenants.c.name != tenants.c.id)
        async with self._database.writing() as connection:
            if (await connection.execute(naming.values(name=tenants.c.id))).rowcount:
                await count(connection, {"names": 1})

    async def search(self) -> None:
        """Nothing."""

    async def pages(self, subject: Subject) -> AsyncIterator[Page]:
        """The row."""
        if subject.person is None:
            async with self._database.reading() as connection:
                rows = (await connection.execute(select(tenants).where(tenants.c.id == subject.tenant))).mappings()
                yield Page([dict(row) for row in rows])


def of_tenants(database: Database) -> Sequence[Rows]:
    """Sums of days, which stay, and keys, which do not."""
    return (
        Rows(database, "usage_days", usage_days, lambda each: _theirs(usage_days.c.tenant, each), removes=False),
        Rows(
            database,
            "keys",
            access_keys,
            lambda each: _theirs(access_keys.c.tenant, each),
            frozenset({"digest"}),
        ),
    )


def _theirs(column: ColumnElement[str], subject: Subject) -> ColumnElement[bool] | None:
    return column == subject.tenant if subject.person is None else None
