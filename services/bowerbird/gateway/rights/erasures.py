"""Erasures as rows: asked for by somebody, carried by one replica at a time, and kept as proof that they were done.

    requested ──claim──► running ──finish──► finished
                          │   ▲
                          └───┘  its replica died: the next claim takes it over, from the beginning

Asking, and disabling a tenant that is to be erased, is one transaction with an entry of the audit log; so is the end.
Every claim has an epoch of its own, and only the present one writes. What is asked for again at once is the same
erasure; what is asked for later may be about what has come since, and is another one.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, RowMapping, delete, func, insert, literal, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from bowerbird.errors import ErasureUnknown
from bowerbird.gateway.identity.audit import AuditLog, Author
from bowerbird.gateway.identity.tables import tenants
from bowerbird.gateway.records.database import Database
from bowerbird.gateway.rights.subject import Subject
from bowerbird.gateway.rights.tables import erasures

DUE_HOURS = 24
"""Within which an erasure is done, unless everything stands still; it takes about a minute."""
SAME_SECONDS = 10.0
"""Within which asking again is asking once: all that is there by then is found by the second round (`erasing`)."""
KEPT_DAYS = 30
"""How long a finished one is shown; the audit log says for ever that it was done."""


class State(StrEnum):
    """Where an erasure is in its life."""

    REQUESTED = "requested"
    RUNNING = "running"
    FINISHED = "finished"


class TakenOver(Exception):
    """Somebody else carries this erasure now: nothing that is written about it here counts."""


@dataclass(frozen=True, slots=True)
class Erasure:
    """An erasure as those may see it who asked for it."""

    id: str
    tenant: str
    person: str | None
    state: State
    step: str | None
    erased: Mapping[str, int]
    """Kind -> how many are gone so far."""
    rewritten: bool | None
    requested_ms: int
    due_ms: int
    finished_ms: int | None


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to carry an erasure, while its lease lasts and until a later claim was made."""

    id: str
    subject: Subject
    epoch: int
    author: Author


_SEEN = [erasures.c[name] for name in Erasure.__slots__]
_UNFINISHED = erasures.c.state != State.FINISHED.value


class Erasures:
    """All erasures of one database."""

    def __init__(self, database: Database, audit: AuditLog) -> None:
        self._database = database
        self._audit = audit

    async def request(self, subject: Subject, author: Author) -> Erasure:
        """A new erasure, or the one of this subject that was asked for just now, or is not begun."""
        same = (erasures.c.tenant == subject.tenant) & erasures.c.person.is_not_distinct_from(subject.person)
        just_now = erasures.c.requested_ms > self._database.now() - round(SAME_SECONDS * 1000)
        early = or_(erasures.c.state == State.REQUESTED.value, _UNFINISHED & just_now)
        async with self._database.writing() as connection:
            found = (await connection.execute(select(*_SEEN).where(same, early).limit(1))).mappings().first()
            if found is not None:
                return _erasure(found)
            made = await self._insert(connection, subject, author)
            if subject.person is None:
                await connection.execute(_disabling(subject.tenant, self._database.now()))
            facts = {"tenant": made.tenant, "person": made.person, "due_ms": made.due_ms}
            await self._audit.append(connection, author.change(f"{_kind(subject)}.erase", made.id, None, facts))
        return made

    async def get(self, erasure_id: str, tenant: str | None) -> Erasure:
        """One erasure, of this tenant, or of any for None; raises ErasureUnknown."""
        asking = select(*_SEEN).where(erasures.c.id == erasure_id, *_of(tenant))
        async with self._database.reading() as connection:
            row = (await connection.execute(asking)).mappings().first()
        if row is None:
            raise ErasureUnknown("There is no erasure of this id.", param="erasure")
        return _erasure(row)

    async def page(self, tenant: str | None, after: str | None, limit: int) -> list[Erasure]:
        """Up to `limit` erasures, newest first, that are older than the one of this id."""
        asking = select(*_SEEN).where(*_of(tenant)).order_by(erasures.c.id.desc()).limit(limit)
        if after is not None:
            asking = asking.where(erasures.c.id < after)
        async with self._database.reading() as connection:
            return [_erasure(row) for row in (await connection.execute(asking)).mappings()]

    async def unfinished_seconds(self) -> float | None:
        """Since the oldest was asked for that is not finished; None when all are."""
        asking = select(self._database.now() - func.min(erasures.c.requested_ms)).where(_UNFINISHED)
        async with self._database.reading() as connection:
            age_ms = await connection.scalar(asking)
        return None if age_ms is None else max(0.0, age_ms / 1000)

    async def claim(self, owner: str, lease_seconds: float) -> Claim | None:
        """The oldest that nobody carries, leased to this owner."""
        now = self._database.now()
        free = _UNFINISHED & or_(erasures.c.lease_until_ms.is_(None), erasures.c.lease_until_ms <= now)
        oldest = select(erasures.c.id).where(free).order_by(erasures.c.id).limit(1).with_for_update(skip_locked=True)
        taking = (
            update(erasures)
            .where(erasures.c.id.in_(oldest))
            .values(
                state=State.RUNNING.value,
                lease_owner=owner,
                lease_epoch=erasures.c.lease_epoch + 1,
                lease_until_ms=now + round(lease_seconds * 1000),
            )
            .returning(erasures)
        )
        async with self._database.writing() as connection:
            row = (await connection.execute(taking)).mappings().first()
        if row is None:
            return None
        subject = Subject(row["tenant"], row["person"])
        return Claim(row["id"], subject, row["lease_epoch"], Author(row["actor"], row["request_id"]))

    async def renew(self, claim: Claim, lease_seconds: float) -> None:
        """Prolongs the lease from now; raises TakenOver."""
        until = self._database.now() + round(lease_seconds * 1000)
        async with self._database.writing() as connection:
            await _write(connection, claim, lease_until_ms=until)

    async def tell(self, claim: Claim, step: str) -> None:
        """Says where it is; raises TakenOver."""
        async with self._database.writing() as connection:
            await _write(connection, claim, step=step)

    async def count(self, connection: AsyncConnection, claim: Claim, gone: Mapping[str, int]) -> None:
        """Adds to what is gone, in the transaction that removes it; raises TakenOver."""
        asking = select(erasures.c.erased).where(_held(claim)).with_for_update()
        written = await connection.scalar(asking)
        if written is None:
            raise TakenOver
        sums: dict[str, int] = json.loads(written)
        for kind, count in gone.items():
            sums[kind] = sums.get(kind, 0) + count
        await _write(connection, claim, erased=json.dumps(sums, sort_keys=True))

    async def finish(self, claim: Claim, *, rewritten: bool) -> Erasure:
        """Ends it, with its entry in the audit log; raises TakenOver."""
        async with self._database.writing() as connection:
            ended = {"state": State.FINISHED.value, "step": None, "rewritten": rewritten, "lease_until_ms": None}
            row = await _write(connection, claim, **ended, finished_ms=self._database.now())
            finished = _erasure(row)
            facts = asdict(finished) | {"state": finished.state.value}
            change = claim.author.change(f"{_kind(claim.subject)}.erased", finished.id, None, facts)
            await self._audit.append(connection, change)
        return finished

    async def sweep(self) -> None:
        """Forgets what was finished long ago."""
        old = erasures.c.finished_ms <= self._database.now() - KEPT_DAYS * 86_400_000
        async with self._database.writing() as connection:
            await connection.execute(delete(erasures).where(old))

    async def _insert(self, connection: AsyncConnection, subject: Subject, author: Author) -> Erasure:
        now_ms: int = await connection.scalar(select(self._database.now()))  # type: ignore[assignment]
        row = {
            "id": id_of("era", now_ms),
            "tenant": subject.tenant,
            "flow": subject.flow,
            "person": subject.person,
            "state": State.REQUESTED.value,
            "erased": "{}",
            "actor": author.actor,
            "request_id": author.request_id,
            "requested_ms": now_ms,
            "due_ms": now_ms + DUE_HOURS * 3_600_000,
        }
        adding = insert(erasures).values(**row).returning(*_SEEN)
        return _erasure((await connection.execute(adding)).mappings().one())


def id_of(mark: str, now_ms: int) -> str:
    """An id of this room: in the order of time, and not to be guessed."""
    return f"{mark}_{now_ms:012x}{secrets.token_hex(8)}"


def _kind(subject: Subject) -> str:
    return "tenant" if subject.person is None else "person"


def _of(tenant: str | None) -> Sequence[ColumnElement[bool]]:
    return [] if tenant is None else [erasures.c.tenant == tenant]


def _held(claim: Claim) -> ColumnElement[bool]:
    return (erasures.c.id == claim.id) & (erasures.c.lease_epoch == literal(claim.epoch, BigInteger)) & _UNFINISHED


async def _write(connection: AsyncConnection, claim: Claim, **values: Any) -> RowMapping:
    row = (await connection.execute(update(erasures).where(_held(claim)).values(**values).returning(*_SEEN))).mappings()
    written = row.first()
    if written is None:
        raise TakenOver
    return written


def _disabling(tenant: str, now: ColumnElement[int]) -> Any:
    return update(tenants).where(tenants.c.id == tenant, tenants.c.disabled_ms.is_(None)).values(disabled_ms=now)


def _erasure(row: RowMapping) -> Erasure:
    return Erasure(**{**row, "state": State(row["state"]), "erased": json.loads(row["erased"])})
