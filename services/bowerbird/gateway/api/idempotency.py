"""`Idempotency-Key` on POSTs: how the header is read, what makes two requests the same, and answers said again.

What creates something (pictures) becomes a job under the key (`api.accepting`). What only asks (`remembered`) is
answered, and the answer kept for the next request with the key; nothing that failed or was refused is kept.
"""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Awaitable, Callable
from functools import wraps

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive

from bowerbird.errors import IdempotencyKeyReused, RequestInvalid
from bowerbird.gateway.api.arrival import arrive
from bowerbird.gateway.api.body import bounded
from bowerbird.gateway.gateway import Gateway
from bowerbird.gateway.records.idempotency import KeyedRequest

KEY_HEADER = "idempotency-key"
MAX_KEY_CHARACTERS = 255

_PRINTABLE = re.compile(rf"[\x21-\x7e](?:[\x20-\x7e]{{0,{MAX_KEY_CHARACTERS - 2}}}[\x21-\x7e])?")
_BOUNDARY = re.compile(r'boundary="?([^";,]+)"?', re.IGNORECASE)
_KEPT_HEADERS = ("content-type",)

Handler = Callable[[Request], Awaitable[Response]]


def read_key(request: Request) -> str | None:
    """The request's key, or None; raises RequestInvalid for one that is empty, too long, not printable or not alone."""
    stated = request.headers.getlist(KEY_HEADER)
    if not stated:
        return None
    if len(stated) > 1 or not _PRINTABLE.fullmatch(stated[0]):
        raise RequestInvalid(
            f"Idempotency-Key must be one text of 1 to {MAX_KEY_CHARACTERS} printable ASCII characters.",
            param="Idempotency-Key",
        )
    return stated[0]


def keyed_request(request: Request, gateway: Gateway, key: str, body: bytes) -> KeyedRequest:
    """The key with the digest of method, path and body; `body` is the same bytes for the same request."""
    said = b"\n".join([request.method.encode(), request.url.path.encode(), body])
    digest = hmac.digest(gateway.records.request_secret, said, "sha256")
    return KeyedRequest(request.state.tenant, key, digest)


def remembered(handler: Handler, max_bytes: int) -> Handler:
    """The handler of a POST that creates nothing, answering a key's second request as it did the first."""

    @wraps(handler)
    async def answer_once(request: Request) -> Response:
        key = read_key(request)
        if key is None:
            return await handler(request)
        gateway, _ = arrive(request)
        body = b"".join([chunk async for chunk in bounded(request, max_bytes)])
        keyed = keyed_request(request, gateway, key, _without_boundary(request, body))
        found = await gateway.records.keys.find(keyed)
        if found is None:
            answer = await handler(Request(request.scope, _receive_again(body, request.receive)))
            if answer.status_code != 200 or getattr(request.state, "keep_nothing", False):
                return answer
            person = getattr(request.state, "person", None)  # whom the handler found the answer to be about
            found = await gateway.records.keys.remember(keyed, _packed(answer), person)
        if found.answer is None:
            raise IdempotencyKeyReused("Idempotency-Key belongs to a job. Accepted: another key.", param=KEY_HEADER)
        return _unpacked(found.answer)

    return answer_once


def _without_boundary(request: Request, body: bytes) -> bytes:
    """The body as it would be with an empty boundary: clients choose a new one each time they send a form."""
    found = _BOUNDARY.search(request.headers.get("content-type", ""))
    return body.replace(found.group(1).encode(), b"") if found else body


def _receive_again(body: bytes, receive: Receive) -> Receive:
    """A `receive` that says the body once more, and then what the connection says."""
    said = False

    async def again() -> Message:
        nonlocal said
        if said:
            return await receive()
        said = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def _packed(answer: Response) -> bytes:
    headers = {name: answer.headers[name] for name in _KEPT_HEADERS if name in answer.headers}
    return json.dumps(headers).encode() + b"\n" + bytes(answer.body)


def _unpacked(kept: bytes) -> Response:
    headers, _, body = kept.partition(b"\n")
    return Response(body, headers=json.loads(headers))
