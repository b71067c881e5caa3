"""The route by which followers reach the owner: outside of the API, of its document, its metrics and its traces.

A connection lasts as long as its follower, so none of the layers around a request applies to it. Who cannot show that
it knows the replicas' secret, or shows what has been shown before, is passed on to the app, which has nothing at this
path.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import AsyncIterator, Mapping

from pydantic import ValidationError
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from bowerbird.gateway.replicas.election import Election
from bowerbird.gateway.replicas.followers import Followers, Session
from bowerbird.gateway.replicas.link import (
    EPOCH_HEADER,
    HEARS,
    HEARS_HEADER,
    NONCE_HEADER,
    PROOF_HEADER,
    REPLICA_HEADER,
    proof,
)
from bowerbird.gateway.replicas.stream import Silence, heard

ROOM = "/replicas/"
CONFLICT = 409
MAX_NAME_CHARACTERS = 100

logger = logging.getLogger(__name__)


class DoorwayASGI:
    """Wraps the app; `app.state.elections` has those that this gateway takes part in, by the path of their queue."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves a follower for as long as it is connected; everything else goes on to the app."""
        if scope["type"] != "http" or not scope["path"].startswith(ROOM):
            await self._app(scope, receive, send)
            return
        elections: Mapping[str, Election] = scope["app"].state.elections
        election = elections.get(scope["path"])
        headers = Headers(scope=scope)
        if election is None or not _may_enter(headers, election.secret):
            await self._app(scope, receive, send)
            return
        followers = election.followers_in(headers[EPOCH_HEADER])
        if followers is None:
            await Response(status_code=CONFLICT)(scope, receive, send)
            return
        if not followers.is_new(headers[NONCE_HEADER]):
            await self._app(scope, receive, send)
            return
        await _serve(headers, followers, election.secret, receive, send)


def _may_enter(headers: Headers, secret: bytes) -> bool:
    name, epoch, nonce = (headers.get(each, "") for each in (REPLICA_HEADER, EPOCH_HEADER, NONCE_HEADER))
    expected = proof(secret, "follower", name, epoch, nonce)
    known = hmac.compare_digest(headers.get(PROOF_HEADER, "").encode(), expected.encode())
    return known and len(name) <= MAX_NAME_CHARACTERS


async def _serve(headers: Headers, followers: Followers, secret: bytes, receive: Receive, send: Send) -> None:
    name = headers[REPLICA_HEADER]
    shown = proof(secret, "owner", name, headers[EPOCH_HEADER], headers[NONCE_HEADER])
    answer = {PROOF_HEADER: shown, HEARS_HEADER: HEARS, "connection": "close"}
    answer_headers = [(name.encode(), value.encode()) for name, value in answer.items()]
    await send({"type": "http.response.start", "status": 200, "headers": answer_headers})
    session = followers.session(name)
    tasks = {
        asyncio.create_task(session.listen(heard(_body(receive)))),
        asyncio.create_task(_speak(session, send)),
        asyncio.create_task(followers.closed.wait()),
    }
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            _explain(task, name)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        followers.part(name, session)
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _speak(session: Session, send: Send) -> None:
    async for chunk in session.outbox.chunks():
        await send({"type": "http.response.body", "body": chunk, "more_body": True})


async def _body(receive: Receive) -> AsyncIterator[bytes]:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        if body := message.get("body", b""):
            yield body
        if not message.get("more_body", False):
            return


def _explain(task: asyncio.Task[object], name: str) -> None:
    error = task.exception()
    if isinstance(error, Silence | ValidationError | OSError):
        logger.warning("a replica is not heard any more", extra={"replica": name, "reason": type(error).__name__})
    elif error is not None:
        raise error
