"""A second listener of a process that uvicorn serves: some paths of the same app, for others than the first one's.

`container` answers the kubelet and Prometheus there without TLS, and `gateway.main` the other gateways with it.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Collection
from contextlib import AsyncExitStack, asynccontextmanager

import uvicorn
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from bowerbird.ending import note_when_told, was_told


class OnlyPaths:
    """An app of which these paths can be asked, and no other; one that ends with a slash is all that is below it."""

    def __init__(self, app: ASGIApp, paths: Collection[str]) -> None:
        self._app = app
        self._paths = frozenset(paths)
        self._rooms = tuple(each for each in paths if each.endswith("/"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        known = scope["path"] in self._paths or scope["path"].startswith(self._rooms)
        answer = self._app if known else PlainTextResponse("Not found here.\n", 404)
        await answer(scope, receive, send)


class ServerBeside(uvicorn.Server):
    """Uvicorn's, which serves at other listeners too from when it is started until it ends."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.beside: list[tuple[uvicorn.Config, socket.socket]] = []
        self._serving = AsyncExitStack()

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serves until it is told to end, before its loop begins too."""
        note_when_told()
        super().run(sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Serves, first at its own; nowhere where it was told to end before."""
        if was_told():
            self.should_exit = True
            return
        await super().startup(sockets)
        for config, listener in self.beside:
            await self._serving.enter_async_context(serving_at(config, listener))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Ends, at its own first."""
        await super().shutdown(sockets)
        await self.end_beside()

    async def end_beside(self) -> None:
        """Ends at the others: what was begun there is finished."""
        await self._serving.aclose()


@asynccontextmanager
async def serving_at(config: uvicorn.Config, listener: socket.socket) -> AsyncIterator[None]:
    """Serves at a socket that listens until the context ends, and what was begun then to its end.

    It is the other server that starts the app and hears signals: `config` has `lifespan="off"`.
    """
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup(sockets=[listener])
    try:
        yield
    finally:
        await server.shutdown(sockets=[listener])
