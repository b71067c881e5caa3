"""Work that goes on beside a block: begun with it, cancelled at its end, and over when the block is left.

Called by the rooms that look at something again and again. How the work fails is its own to say: whatever is meant to
outlive an error catches it. What must not be cut in two by the cancel, `to_its_end` keeps whole.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

T = TypeVar("T")


@asynccontextmanager
async def in_background(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Runs `work` until the context ends."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def to_its_end(work: Coroutine[Any, Any, T]) -> T:
    """What `work` brings; a cancel that comes meanwhile takes effect when it is over.

    For a claim: cut between its commit and the line that remembers it, nobody would give it back.
    """
    task = asyncio.create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise
