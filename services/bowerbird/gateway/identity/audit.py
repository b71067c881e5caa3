"""The audit log: who changed what, from what to what, when and by which request; appended, never altered.

A change and its entry are one transaction: neither is there without the other. Triggers in both databases refuse to
alter, delete or truncate entries; and since whoever owns a database can drop a trigger, each entry's hash covers the
hash before it: who keeps one hash elsewhere sees any later change to what
came before it. Entries name keys by id and prefix; a key's text is not there to be written.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from sqlalchemy import insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from bowerbird.gateway.identity.audit_chain import FIRST_HASH, Entry, State, entry_hash, state_json
from bowerbird.gateway.identity.tables import audit_log
from bowerbird.gateway.records.database import Database

_LOCK = 0x6175646974  # "audit": entries are numbered one after the other


@dataclass(frozen=True, slots=True)
class Change:
    """What is to be written down of one change; `before` or `after` is None where there was, or is, nothing."""

    actor: str
    request_id: str
    action: str
    subject: str
    before: State | None
    after: State | None


@dataclass(frozen=True, slots=True)
class Author:
    """Who makes a change, in which request."""

    actor: str
    request_id: str

    def change(self, action: str, subject: str, before: State | None, after: State | None) -> Change:
        """The entry of one change of theirs."""
        return Change(self.actor, self.request_id, action, subject, before, after)


class AuditLog:
    """The log of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def append(self, connection: AsyncConnection, change: Change) -> None:
        """Adds an entry within the caller's transaction, behind the last one of any replica."""
        if connection.dialect.name == "postgresql":  # SQLite's transaction has excluded other writers from its begin
            await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        newest = select(audit_log.c.number, audit_log.c.hash).order_by(audit_log.c.number.desc()).limit(1)
        last = (await connection.execute(newest)).first()
        number, previous = (last.number + 1, bytes(last.hash)) if last else (1, FIRST_HASH)
        at_ms = await connection.scalar(select(self._database.now()))
        facts = asdict(change) | {"before": state_json(change.before), "after": state_json(change.after)}
        row = {"number": number, "at_ms": at_ms, **facts}
        entry = insert(audit_log).values(**row, previous_hash=previous, hash=entry_hash(row, previous))
        await connection.execute(entry)

    async def page(self, after: int, limit: int) -> list[Entry]:
        """Up to `limit` entries behind number `after`, oldest first."""
        asking = select(audit_log).where(audit_log.c.number > after).order_by(audit_log.c.number).limit(limit)
        async with self._database.reading() as connection:
            rows = (await connection.execute(asking)).mappings().all()
        return [
            Entry(**{**row, "previous_hash": bytes(row["previous_hash"]), "hash": bytes(row["hash"])}) for row in rows
        ]
