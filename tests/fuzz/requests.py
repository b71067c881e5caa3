"""Bytes as the request that they would be: the first line is the Content-Type, the rest the body, cut into pieces."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.types import Message

Result = TypeVar("Result")

LOOP = asyncio.new_event_loop()
CUTS = (1, 3, 17, 64, 1_000_000)
"""Sizes of the pieces in which a body comes; its length says which."""
MOST_PIECES = 64


def request_of(data: bytes, method: str = "POST") -> Request:
    """The request whose Content-Type and body these are."""
    media_type, _, body = data.partition(b"\n")
    return request_with([(b"content-type", media_type)], body, method)


def request_with(headers: list[tuple[bytes, bytes]], body: bytes = b"", method: str = "POST") -> Request:
    """A request as uvicorn would hand it over."""
    pieces = pieces_of(body)

    async def receive() -> Message:
        piece = next(pieces, None)
        return {"type": "http.request", "body": piece or b"", "more_body": piece is not None}

    scope = {
        "type": "http",
        "method": method,
        "path": "/",
        "query_string": b"",
        "headers": headers,
        "state": {"tenant": "tenant", "request_id": "req_1"},
    }
    return Request(scope, receive)


def pieces_of(body: bytes) -> Iterator[bytes]:
    """The body in pieces, of which there are not so many that nothing else is tried."""
    size = max(CUTS[len(body) % len(CUTS)], len(body) // MOST_PIECES)
    return (body[at : at + size] for at in range(0, len(body), size))


def awaited(work: Coroutine[Any, Any, Result]) -> Result:
    """The result of what is written for an event loop."""
    return LOOP.run_until_complete(work)
