"""What was begun before its subject's erasure was asked for is not kept after it; `results.store` asks here.

A drawing may take as long as its caller waits, an hour at most, and ends when it ends: an erasure does not wait for it.
So whoever is about to keep something says how long ago its request came, within the transaction that would keep it.
What is committed before the erasure is found by it, what comes later finds the erasure.
"""

from __future__ import annotations

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from bowerbird.gateway.rights.tables import erasures


async def was_erased(
    connection: AsyncConnection, flow: str, person: str | None, age_seconds: float, now: ColumnElement[int]
) -> bool:
    """Whether the erasure of this person, or of all of the tenant, was asked for within the last `age_seconds`."""
    theirs = (erasures.c.flow == flow) & or_(erasures.c.person.is_(None), erasures.c.person == person)
    since = erasures.c.requested_ms >= now - round(age_seconds * 1000)
    return await connection.scalar(select(erasures.c.id).where(theirs, since).limit(1)) is not None


async def any_erased(connection: AsyncConnection, age_seconds: float, now: ColumnElement[int]) -> bool:
    """Whether anybody's erasure was asked for within the last `age_seconds`: mostly nobody's, and then none need be."""
    since = erasures.c.requested_ms >= now - round(age_seconds * 1000)
    return await connection.scalar(select(erasures.c.id).where(since).limit(1)) is not None
