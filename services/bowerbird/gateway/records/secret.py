"""Random bytes that all replicas share and that no client knows: made by whoever asks first, then read by all."""

from __future__ import annotations

import secrets as random

from sqlalchemy import select

from bowerbird.gateway.records.database import Database, upsert
from bowerbird.gateway.records.tables import secrets

SECRET_BYTES = 32


async def shared_secret(database: Database, name: str) -> bytes:
    """The 32 bytes of this name, the same for every process on this database."""
    async with database.writing() as connection:
        draft = upsert(connection, secrets).values(name=name, value=random.token_bytes(SECRET_BYTES))
        await connection.execute(draft.on_conflict_do_nothing())
        value = await connection.scalar(select(secrets.c.value).where(secrets.c.name == name))
    assert value is not None  # noqa: S101 - inserted above, and never deleted
    return bytes(value)
