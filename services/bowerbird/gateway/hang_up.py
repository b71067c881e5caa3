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

LISTEN_AFTER_SECONDS = 0.01
"""What is answered sooner, as a stored picture is, needs no task that listens: it would be most of a hop's time."""

Result = TypeVar("Result")


class ClientGone(Exception):
    """Nobody waits for the answer any more; becomes status 499 in log and metrics, and reaches nobody."""

    status = CLIENT_GONE


async def unless_hung_up(request: Request, work: Coroutine[Any, Any, Result]) -> Result:
    """The result of `work`, whose request body must have been read; raises ClientGone when the client left first.

    The work runs in the caller's task, and is cancelled there as `asyncio.timeout` cancels: who else cancels the task
    meanwhile is not mistaken for the client.
    """
    working = asyncio.current_task()
    assert working is not None  # noqa: S101 - a coroutine runs in a task; for the type checker
    listening: asyncio.Task[None] | None = None
    gone = over = False

    def left(listened: asyncio.Task[None]) -> None:
        nonlocal gone
        if not over and not listened.cancelled():
            gone = True
            working.cancel()

    def listen() -> None:
        nonlocal listening
        listening = asyncio.create_task(_hung_up(request))
        listening.add_done_callback(left)

    later = asyncio.get_running_loop().call_later(LISTEN_AFTER_SECONDS, listen)
    try:
        return await work
    except asyncio.CancelledError:
        if gone and not working.uncancel():
            raise ClientGone from None
        raise
    finally:
        over = True
        later.cancel()
        if listening is not None:
            listening.cancel()


async def _hung_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
