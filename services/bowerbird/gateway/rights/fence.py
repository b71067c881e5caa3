"""What was begun before its subject's erasure was asked for is not kept after it; `results.store` asks here.

A drawing may take as long as its caller waits, an hour at most, and ends when it ends: an erasure does not wait for it.
So whoever is about to keep something says when its request came, within the transaction that would keep it. What is
committed before the erasure is found by it, what comes later finds the erasure.

Two clocks are compared by durations: the database says how long ago the erasure was asked for, and this process, when
it has heard that, how long ago the request came. On a machine that is slow between the two the request seems older than
it is, never younger, and is not kept.
"""

from __future__ import annotations

import time

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from bowerbird.gateway.rights.tables import erasures

ROUNDING_MS = 2
"""Either clock's."""


async def was_erased(
    connection: AsyncConnection, flow: str, person: str | None, began: float, now: ColumnElement[int]
) -> bool:
    """Whether the erasure of this person, or of all of the tenant, was asked for since `began`, on this process'
    performance counter."""
    theirs = (erasures.c.flow == flow) & or_(erasures.c.person.is_(None), erasures.c.person == person)
    return _since(began, await connection.scalar(select(now - func.max(erasures.c.requested_ms)).where(theirs)))


async def any_erased(connection: AsyncConnection, began: float, now: ColumnElement[int]) -> bool:
    """Whether anybody's erasure was asked for since `began`: mostly nobody's, and then none need be looked for."""
    return _since(began, await connection.scalar(select(now - func.max(erasures.c.requested_ms))))


def _since(began: float, ago_ms: int | None) -> bool:
    return ago_ms is not None and ago_ms <= (time.perf_counter() - began) * 1000 + ROUNDING_MS
