"""A client that hangs up while it waits for an answer ends the work done for it.

An ASGI server does not cancel a handler whose client is gone; it says `http.disconnect` to whoever listens. Handlers
that take long run their work through `unless_hung_up`, which listens, and cancels the work: that closes the connections
to the stages, which is how they learn of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import Request

from bowerbird.gateway.metrics import CLIENT_GONE

Result = TypeVar("Result")


class ClientGone(Exception):
    """Nobody waits for the answer any more; becomes status 499 in log and metrics, and reaches nobody."""

    status = CLIENT_GONE


async def unless_hung_up(request: Request, work: Coroutine[Any, Any, Result]) -> Result:
    """The result of `work`, whose request body must have been read; raises ClientGone when the client left first."""
    working = asyncio.create_task(work)
    listening = asyncio.create_task(_hung_up(request))
    try:
        await asyncio.wait({working, listening}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientGone
        return working.result()
    finally:
        for task in (working, listening):
            task.cancel()
        await asyncio.gather(working, listening, return_exceptions=True)


async def _hung_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
