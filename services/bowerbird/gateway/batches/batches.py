"""Batches as tenants see them: create, get, list, cancel. Who runs them uses `claims.BatchClaims`.

A batch is accepted when `create` returns: its row and, where there is one, its idempotency key are one transaction.
Every question names the tenant; another tenant's batch is unknown, not forbidden.
"""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Select, delete, func, insert, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from bowerbird.errors import BatchFinished, BatchUnknown, FileUnknown, TooManyBatches
from bowerbird.gateway.batches.batch import UNFINISHED, WINDOW_SECONDS, Batch, BatchState, NewBatch
from bowerbird.gateway.batches.tables import batches
from bowerbird.gateway.files.files import READY, Files
from bowerbird.gateway.files.tables import files
from bowerbird.gateway.records.database import Database
from bowerbird.gateway.records.idempotency import IdempotencyKeys, KeyedRequest, KeyTarget
from bowerbird.gateway.webhooks import outbox
from bowerbird.gateway.webhooks.events import EventType

RETRY_AFTER_SECONDS = 60

_SEEN = tuple(batches.c[name] for name in Batch.__slots__)


class Batches:
    """The batches of all tenants; `bound` is how many of one tenant may be under way."""

    def __init__(self, database: Database, keys: IdempotencyKeys, stored: Files, bound: int) -> None:
        self._database = database
        self._keys = keys
        self._files = stored
        self._bound = bound

    async def create(self, new: NewBatch, key: KeyedRequest | None = None) -> Batch:
        """The new batch, or the one that the key stands for already.

        Raises FileUnknown, StorageFull, TooManyBatches, IdempotencyKeyReused.
        """
        async with self._database.writing() as connection:
            if key is not None and (known := await self._known_by(connection, key, new.id)):
                return await _get(connection, new.tenant, known)
            await self._require_input(connection, new)
            now = self._database.now()
            row = {
                "id": new.id,
                "tenant": new.tenant,
                "state": BatchState.VALIDATING.value,
                "endpoint": new.endpoint,
                "input_file_id": new.input_file_id,
                "metadata": new.metadata,
                "output_expires_seconds": new.output_expires_seconds,
                "locale": new.locale,
            }
            nothing_yet = dict.fromkeys(("total", "completed", "failed", "input_tokens", "output_tokens"), 0)
            adding = insert(batches).values(
                created_ms=now,
                expires_ms=now + WINDOW_SECONDS * 1000,
                lease_epoch=0,
                lease_until_ms=0,
                **row,
                **nothing_yet,
            )
            await connection.execute(adding)
            return await _get(connection, new.tenant, new.id)

    async def get(self, tenant: str, batch_id: str) -> Batch:
        """One batch; raises BatchUnknown."""
        async with self._database.reading() as connection:
            return await _get(connection, tenant, batch_id)

    async def page(self, tenant: str, limit: int, after: str | None = None) -> list[Batch]:
        """Up to `limit` batches, newest first, behind the one of the id `after`; raises BatchUnknown for that one."""
        asking: Select[Any] = select(*_SEEN).where(batches.c.tenant == tenant)
        async with self._database.reading() as connection:
            if after is not None:
                last = await _get(connection, tenant, after, param="after")
                asking = asking.where(tuple_(batches.c.created_ms, batches.c.id) < (last.created_ms, last.id))
            asking = asking.order_by(batches.c.created_ms.desc(), batches.c.id.desc()).limit(limit)
            return [_batch(row) for row in (await connection.execute(asking)).all()]

    async def cancel(self, tenant: str, batch_id: str) -> Batch:
        """The batch, which runs no further line and is `cancelled` soon; raises BatchUnknown or BatchFinished.

        One that nobody has begun has nothing to be brought to an end, and is `cancelled` at once.
        """
        async with self._database.writing() as connection:
            now = self._database.now()
            mine = (batches.c.id == batch_id, batches.c.tenant == tenant)
            at_once = (
                update(batches)
                .where(*mine, batches.c.state == BatchState.VALIDATING.value)
                .values(state=BatchState.CANCELLED.value, cancelling_ms=now, finished_ms=now)
                .returning(batches.c.id)
            )
            if await connection.scalar(at_once):
                told = outbox.Announcement(tenant, EventType.BATCH_CANCELLED, batch_id)
                await outbox.write(connection, now, [told])
                return await _get(connection, tenant, batch_id)
            soon = (
                update(batches)
                .where(*mine, batches.c.state == BatchState.IN_PROGRESS.value)
                .values(state=BatchState.CANCELLING.value, cancelling_ms=now)
            )
            await connection.execute(soon)
            batch = await _get(connection, tenant, batch_id)
            if batch.state.final:
                fact = f"The batch is {batch.state} already: there is nothing to cancel."
                raise BatchFinished(fact, param="batch_id", details={"state": batch.state})
            return batch

    async def remove_tenant(self, tenant: str) -> int:
        """Removes every batch of a tenant at once; whoever runs one finds its claim void. How many."""
        async with self._database.writing() as connection:
            removing = delete(batches).where(batches.c.tenant == tenant).returning(batches.c.id)
            return len((await connection.execute(removing)).all())

    async def _require_input(self, connection: AsyncConnection, new: NewBatch) -> None:
        """Raises FileUnknown, StorageFull, TooManyBatches; the file stays until the transaction ends."""
        asking = (
            select(files.c.id)
            .where(files.c.id == new.input_file_id, files.c.tenant == new.tenant, files.c.state == READY)
            .where(files.c.purpose == "batch", files.c.expires_ms > self._database.now())
            .with_for_update(read=True)
        )
        if await connection.scalar(asking) is None:
            fact = "There is no file of this id that was uploaded with purpose batch."
            raise FileUnknown(fact, param="input_file_id")
        await self._files.require_room(connection, new.tenant, 1)
        counting = (
            select(func.count())
            .select_from(batches)
            .where(batches.c.tenant == new.tenant, batches.c.state.in_(UNFINISHED))
        )
        if (await connection.scalar(counting) or 0) >= self._bound:
            raise TooManyBatches(
                f"{self._bound} batches of this tenant are under way, as many as may.",
                retry_after_seconds=RETRY_AFTER_SECONDS,
            )

    async def _known_by(self, connection: AsyncConnection, key: KeyedRequest, batch_id: str) -> str | None:
        """The batch that the key stands for, if it is another one."""
        answer = json.dumps({"batch": batch_id}).encode()
        [remembered] = await self._keys.insert(connection, [KeyTarget(key, answer=answer)])
        found = remembered.must_be(key).answer
        known = None if found is None else json.loads(found).get("batch")
        return None if known == batch_id else known


async def _get(connection: AsyncConnection, tenant: str, batch_id: str, param: str = "batch_id") -> Batch:
    asking = select(*_SEEN).where(batches.c.id == batch_id, batches.c.tenant == tenant)
    row = (await connection.execute(asking)).first()
    if row is None:
        raise BatchUnknown("There is no batch of this id.", param=param)
    return _batch(row)


def _batch(row: Any) -> Batch:
    seen = dict(row._mapping)
    return Batch(**seen | {"state": BatchState(seen["state"])})
