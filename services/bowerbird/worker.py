"""The shell that every model service shares: an ASGI app with one error shape, one trace and one deadline.

A service builds its `app` here and mounts it into its BentoML class (`@bentoml.asgi_app(app, path="/")`); BentoML gives
process, health, `/metrics` and packaging, and nothing of a request passes through its own handlers: those run on after
a client hung up, which a streamed Starlette answer does not. Handlers raise the facts of `bowerbird.errors`; what they
did not foresee becomes a 500 that says nothing of its cause to the caller and everything to the log.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bowerbird import __version__
from bowerbird.contracts import SERVICE_HEADER
from bowerbird.drain import PATH, DrainASGI
from bowerbird.errors import (
    BodyTooLarge,
    BowerbirdError,
    MethodUnsupported,
    RequestInvalid,
    RouteUnknown,
    error_body,
)
from bowerbird.parts import CONTENT_TYPE, END_OF_STREAM, error_part
from bowerbird.telemetry import TracedASGI, set_up_telemetry

MAX_JSON_BYTES = 1024 * 1024
DRAIN_NOTICE_SECONDS = 3.0
"""Until every gateway has heard that a pod terminates: its EndpointSlice changes within a second."""

# Options of every `@bentoml.service`. BentoML's own timeout answers 504 while the work goes on: ours is the deadline,
# so its is out of reach. Its access log costs 30-150 us a request and says less than the trace. Its tracing would make
# a second span of each request, which is never sampled and goes nowhere: a third of what a short request costs here.
WORKER_OPTIONS: dict[str, Any] = {
    "traffic": {"timeout": 86_400},
    "logging": {"access": {"enabled": False}},
    "tracing": {"excluded_urls": ".*"},
}

Body = TypeVar("Body", bound=BaseModel)
Handler = Callable[[Request, Exception], Coroutine[Any, Any, Response]]

logger = logging.getLogger(__name__)


def create_worker_app(service_name: str, routes: Sequence[BaseRoute], drain_notice_seconds: float = 0.0) -> Starlette:
    """The app of one service; what its constructor loads goes to `app.state`.

    Told to drain, it still takes work for `drain_notice_seconds`: more than 0 where no queue takes a refusal back.
    """
    set_up_telemetry(service_name)
    middleware = [
        Middleware(TracedASGI),
        Middleware(SignedASGI, name=f"{service_name}/{__version__}"),
        Middleware(DrainASGI, notice_seconds=drain_notice_seconds),
        Middleware(UnforeseenASGI),
    ]
    # BentoML hands on what is a route of ours and nothing else; `DrainASGI` answers before the route would.
    drained = Route(PATH, _unreached)
    return Starlette(routes=[*routes, drained], exception_handlers=error_handlers(), middleware=middleware)


async def _unreached(_: Request) -> Response:
    raise RouteUnknown(f"Nothing answers at {PATH}.")


class SignedASGI:
    """Says in every answer which service gave it, so that the label of a picture names the versions that really ran."""

    def __init__(self, app: ASGIApp, name: str) -> None:
        self._app = app
        self._header = (SERVICE_HEADER.encode(), name.encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request with the header added to its answer."""

        async def send_signed(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], self._header]
            await send(message)

        await self._app(scope, receive, send_signed)


def error_handlers() -> dict[Any, Handler]:
    """Which exception becomes which answer; the gateway uses the same table."""
    return {BowerbirdError: _answer, HTTPException: _answer_starlette}


def error_response(error: BowerbirdError) -> JSONResponse:
    """An error as the caller sees it: OpenAI's shape, `Retry-After` where asking again makes sense.

    `x-should-retry: false` where it does not although the status says so: OpenAI's clients read it before the status.
    """
    headers = {} if error.retry_after_seconds is None else {"Retry-After": str(error.retry_after_seconds)}
    if error.final:
        headers["x-should-retry"] = "false"
    return JSONResponse(error_body(error), error.status, headers)


class UnforeseenASGI:
    """Turns what no handler foresaw into a 500, inside of the trace so that the log line has its id.

    The log gets the type and the stack, not the message: a foreign library may have quoted the prompt in it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request; an error after its first byte goes on to the server, which hangs up."""
        began = False

        async def send_watched(message: Message) -> None:
            nonlocal began
            began = began or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, send_watched)
        except Exception as error:
            log_unforeseen(error)
            if began:
                raise
            response = error_response(BowerbirdError("The service failed; the log has the cause."))
            await response(scope, receive, send)


def log_unforeseen(error: Exception) -> None:
    """One log line: the error's type and its stack, without its message."""
    stack = "".join(traceback.format_tb(error.__traceback__))
    logger.error("unforeseen %s", type(error).__qualname__, extra={"stack": stack})


async def read_json(request: Request, contract: type[Body], max_bytes: int = MAX_JSON_BYTES) -> Body:
    """The body as a contract; raises BodyTooLarge before reading on, RequestInvalid naming the first wrong field."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > max_bytes:
            raise BodyTooLarge(f"The body is larger than the {max_bytes} bytes that are accepted.")
    try:
        return contract.model_validate_json(bytes(body))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        param = ".".join(str(step) for step in first["loc"]) or None
        raise RequestInvalid(f"{param or 'The body'}: {first['msg']}.", param=param) from error


@dataclass(frozen=True, slots=True)
class LastParts:
    """What a stream of parts ends with, as its source knows: it is written in one piece with the end."""

    parts: Sequence[bytes]


class PartsResponse(StreamingResponse):
    """A stream of parts; an error raised while it runs becomes its last part, since the status is already sent.

    Each write wakes the reader, on a core that whoever computes wants too, so what ends together is written together.
    """

    def __init__(self, parts: AsyncIterator[bytes | LastParts]) -> None:
        super().__init__((), media_type=CONTENT_TYPE)
        self._parts = parts

    async def stream_response(self, send: Send) -> None:
        """As Starlette's, but that the end of the parts is that of the answer."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async for chunk, last in _closed(self._parts):
            await send({"type": "http.response.body", "body": chunk, "more_body": not last})


async def _closed(parts: AsyncIterator[bytes | LastParts]) -> AsyncIterator[tuple[bytes, bool]]:
    """The stream's bytes, and whether they are the last."""
    ended, end = False, END_OF_STREAM
    try:
        async for each in parts:
            ended = isinstance(each, LastParts)
            yield (b"".join((*each.parts, END_OF_STREAM)), True) if isinstance(each, LastParts) else (each, False)
    except BowerbirdError as error:
        end = error_part(error_body(error)) + END_OF_STREAM
    except Exception as error:
        log_unforeseen(error)
        end = error_part(error_body(BowerbirdError("The service failed; the log has the cause."))) + END_OF_STREAM
    if not ended:
        yield end, True


async def _answer(_: Request, error: Exception) -> Response:
    assert isinstance(error, BowerbirdError)  # noqa: S101 - the table above says so; for the type checker
    return error_response(error)


async def _answer_starlette(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    path = request.url.path
    facts: dict[int, BowerbirdError] = {
        404: RouteUnknown(f"Nothing answers at {path}."),
        405: MethodUnsupported(f"{request.method} is not supported at {path}."),
        413: BodyTooLarge("The body is larger than what is accepted."),
    }
    fact = facts.get(status, RequestInvalid("The request cannot be understood."))
    response = error_response(fact)
    if isinstance(error, HTTPException) and error.headers:
        response.headers.update(error.headers)
    return response
