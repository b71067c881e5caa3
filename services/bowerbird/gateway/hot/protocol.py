"""A client's connection as the gateway serves it: what can be answered at once is answered while it is being read.

uvicorn makes a task for each request and sends its answer in messages. That takes a hundred microseconds, more than all
that a status or a stored picture needs otherwise. So a request that may be answered at once (its method, path and
headers say so) is held until its body is there, which nearly always has come with its head; `front` then answers it,
and the answer is written. What it does not answer is handed to uvicorn, which begins from the beginning: it has heard
nothing of the request before.

Held is only what nothing stands before: no request under way on the connection, nothing unsent that is paused, no
`Expect`, no upgrade, a connection that is kept open. Everything else is uvicorn's as ever. A body that lets itself be
waited for is uvicorn's after BODY_SECONDS, with all bounds on slow clients.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE
from uvicorn.server import ServerState

from bowerbird.gateway.hot.front import FRONT, Asked, Front
from bowerbird.gateway.hot.visit import header_lines
from bowerbird.gateway.slow_clients import BoundedHttpProtocol

if TYPE_CHECKING:
    from starlette.types import Scope

BODY_SECONDS = 0.25
"""How long the rest of a small body is waited for before the request is begun; there it is waited for longer."""

logger = logging.getLogger(__name__)


class GatewayHttpProtocol(BoundedHttpProtocol):
    """One connection; given to uvicorn as `http` (`main.SERVER_OPTIONS`)."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._front: Front | None = app_state.get(FRONT)
        self._held: Asked | None = None
        self._body: list[bytes] = []
        self._late: asyncio.TimerHandle | None = None
        self._answered: object = None
        """The scope of the request that was answered at once; until more is received."""

    # ------------------------------------------------------------------------------------------- the transport's calls

    def data_received(self, data: bytes) -> None:
        """Reads, and answers what it can; does not wait long for the rest of what is held."""
        self._answered = None
        super().data_received(data)
        if self._held is not None and self._late is None:
            self._late = self.loop.call_later(BODY_SECONDS, self._begin)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody asks any more."""
        self._let_go()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """What came before the end is still answered, the ordinary way."""
        if self._held is not None:
            self._begin()
        super().shutdown()

    # --------------------------------------------------------------------------------------------- the parser's calls

    def on_headers_complete(self) -> None:
        """Holds what may be answered at once."""
        if self._front is not None and self._is_free():
            self._held = self._front.asked(self.parser.get_method(), self.url, self.headers)
        if self._held is None:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of the body; of what is held no longer than its head says, which is bounded."""
        if self._held is None:
            super().on_body(body)
        else:
            self._body.append(body)

    def on_message_complete(self) -> None:
        """The request is whole: answers it, or has it begun."""
        if self._held is None or not self._answer(self._held, b"".join(self._body)):
            self._begin()
            super().on_message_complete()

    # ------------------------------------------------------------------------------------------------ either of two

    def _is_free(self) -> bool:
        """Whether an answer may be written as soon as it is known, and nothing more is to be considered."""
        under_way = self.cycle is not None and not self.cycle.response_complete
        if under_way or self.expect_100_continue or self.flow.write_paused or self.transport.is_closing():
            return False
        parser = self.parser
        return parser.get_http_version() == "1.1" and parser.should_keep_alive() and not parser.should_upgrade()

    def _answer(self, asked: Asked, body: bytes) -> bool:
        """Answers the request that is held, if that is beyond doubt."""
        scope = cast("Scope", self.scope)
        scope["method"] = self.parser.get_method().decode("ascii")  # beside the headers all that is looked at
        try:
            answered = asked.answer(asked, body, scope, self._write)
        except Exception:  # a bug: the ordinary way may do without it; in the parser's call it would be 'bad request'
            logger.exception("a request could not be answered at once")
            answered = self._answered is scope
        if answered:
            self._let_go()
        return answered

    def _write(self, status: int, lines: bytes, body: Sequence[bytes]) -> None:
        """The whole answer; what goes out of memory slowly is then bounded as any other (`pause_writing`)."""
        always = header_lines(self.server_state.default_headers)
        self.transport.writelines([b"".join((STATUS_LINE[status], always, lines, b"\r\n")), *body])
        self._answered = self.scope
        self.on_response_complete()

    def _begin(self) -> None:
        """Hands what is held to uvicorn as if it came only now."""
        if self._held is None:
            return
        body = b"".join(self._body)
        self._let_go()
        super().on_headers_complete()
        if body:
            super().on_body(body)

    def _let_go(self) -> None:
        self._held = None
        self._body.clear()
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _awaits_head(self) -> bool:
        """Of what is held the head is there; after an answer nothing is awaited until something comes."""
        return self._held is None and self._answered is not self.scope and super()._awaits_head()
