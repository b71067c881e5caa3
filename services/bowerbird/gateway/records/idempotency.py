"""`Idempotency-Key`: the same key and request, the same answer, for 24 hours; another request under it is refused.

A key names either a job, written in the transaction that accepts the job (`jobs.Jobs.submit`), or a stored answer of a
question that creates nothing (a moderation). Two requests of one key at the same time both compute; the first to commit
gives the answer to both. A request is known by an HMAC with a secret of the deployment, so that a copy of the database
cannot be searched for a prompt.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from bowerbird.errors import IdempotencyKeyReused
from bowerbird.gateway.records.database import Database, upsert
from bowerbird.gateway.records.tables import idempotency_keys
from bowerbird.gateway.records.writer import Writer

KEY_HOURS = 24
_KEY_MS = KEY_HOURS * 3_600_000


@dataclass(frozen=True, slots=True)
class KeyedRequest:
    """A tenant's key, with the digest of the request that came under it."""

    tenant: str
    key: str
    digest: bytes


@dataclass(frozen=True, slots=True)
class Remembered:
    """What a key stands for: a job's id, or an answer's bytes; exactly one of them."""

    digest: bytes
    job_id: str | None
    answer: bytes | None

    def must_be(self, request: KeyedRequest) -> Remembered:
        """Itself; raises IdempotencyKeyReused when the key came with another request."""
        if not hmac.compare_digest(self.digest, request.digest):
            raise IdempotencyKeyReused(
                f"Idempotency-Key came with another request within the last {KEY_HOURS} hours. Accepted: the same "
                "request again, or another key.",
                param="Idempotency-Key",
            )
        return self


@dataclass(frozen=True, slots=True)
class KeyTarget:
    """What a key is to stand for, unless it stands for something already."""

    request: KeyedRequest
    job_id: str | None = None
    answer: bytes | None = None
    person: str | None = None
    """Whom the answer is about (`people`)."""


class IdempotencyKeys:
    """The keys of the last 24 hours."""

    def __init__(self, database: Database, writer: Writer) -> None:
        self._database = database
        self._writer = writer

    async def find(self, request: KeyedRequest) -> Remembered | None:
        """What this key stands for, or None; raises IdempotencyKeyReused when it came with another request."""
        async with self._database.reading() as connection:
            found = await _read(connection, [request], self._database)
        remembered = found.get((request.tenant, request.key))
        return None if remembered is None else remembered.must_be(request)

    async def remember(self, request: KeyedRequest, answer: bytes, person: str | None = None) -> Remembered:
        """Keeps `answer` unless the key stands for something by now; what it stands for after that."""
        remembered = await self._writer.submit(self.insert, KeyTarget(request, answer=answer, person=person))
        return remembered.must_be(request)

    async def insert(self, connection: AsyncConnection, targets: Sequence[KeyTarget]) -> list[Remembered]:
        """What each key stands for after the first of equal keys was written, within the caller's transaction.

        Rows are written in the order of their keys: two replicas that write the same keys wait for each other in turn.
        """
        now = self._database.now()
        draft = upsert(connection, idempotency_keys).values(expires_ms=now + _KEY_MS)
        fresh = {name: draft.excluded[name] for name in ("request_digest", "job_id", "answer", "person", "expires_ms")}
        free = draft.on_conflict_do_update(
            index_elements=["tenant", "key"], set_=fresh, where=idempotency_keys.c.expires_ms <= now
        )
        ordered = sorted(targets, key=lambda each: (each.request.tenant, each.request.key))
        await connection.execute(free, [_row(each) for each in ordered])
        found = await _read(connection, [each.request for each in targets], self._database)
        return [found[each.request.tenant, each.request.key] for each in targets]


def _row(target: KeyTarget) -> dict[str, object]:
    return {
        "tenant": target.request.tenant,
        "key": target.request.key,
        "request_digest": target.request.digest,
        "job_id": target.job_id,
        "answer": target.answer,
        "person": target.person,
    }


async def _read(
    connection: AsyncConnection, requests: Sequence[KeyedRequest], database: Database
) -> Mapping[tuple[str, str], Remembered]:
    table = idempotency_keys
    keys = sorted({(each.tenant, each.key) for each in requests})
    asking = select(table.c.tenant, table.c.key, table.c.request_digest, table.c.job_id, table.c.answer).where(
        tuple_(table.c.tenant, table.c.key).in_(keys), table.c.expires_ms > database.now()
    )
    rows = (await connection.execute(asking)).all()
    return {(row[0], row[1]): Remembered(bytes(row[2]), row[3], row[4]) for row in rows}
