"""Streams of parts: how pixels, progress and errors travel between the gateway and the services.

Services write with `part`, the gateway and the services read with `PartReader` (it needs no NumPy: the gateway never
decodes pixels, `bowerbird.frames` does). A stream is `multipart/mixed` (RFC 2046); every part says what it is
(`Bowerbird-Part`), how long it is (`Content-Length`) and its `sha256`. It exists because a stage that takes
seconds must speak from its first byte on (a hang-up is then noticed, progress is visible) and because PNG between two
processes of ours costs more than the gateway's whole work.

Promises: a stream that ends without `done` or `error` is broken (`StreamBroken`), and so is a part whose length or
digest is wrong; the reader never buffers more than one part and refuses one above `max_part_bytes`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

from pydantic import BaseModel

from bowerbird.errors import StageBroken

BOUNDARY = "bowerbird-part"
CONTENT_TYPE = f"multipart/mixed; boundary={BOUNDARY}"
END_OF_STREAM = f"--{BOUNDARY}--\r\n".encode()
MAX_PART_BYTES = 64 * 1024 * 1024
MAX_HEAD_BYTES = 64 * 1024

_DELIMITER = f"--{BOUNDARY}".encode()
_LINE_END = b"\r\n"
_HEAD_END = 2 * _LINE_END

Body = TypeVar("Body", bound=BaseModel)


class StreamBroken(StageBroken):
    """A stream of parts ended early, or a part is not what its header says."""


class Kind(StrEnum):
    """What a part is."""

    REQUEST = "request"
    PROGRESS = "progress"
    PREVIEW = "preview"
    FRAMES = "frames"
    FILE = "file"
    PICTURE = "picture"
    DONE = "done"
    ERROR = "error"


_KINDS = {str(kind): kind for kind in Kind}


@dataclass(frozen=True, slots=True)
class Part:
    """One part as it was read: its kind, its facts (the `Bowerbird-Facts` header, JSON) and its bytes."""

    kind: Kind
    facts: dict[str, Any]
    body: bytes
    digest: str | None = None
    """SHA-256 of `body`, 64 hexadecimal digits, as stated and checked; None where it was not stated."""

    def read(self, contract: type[Body]) -> Body:
        """The JSON body as a contract; raises pydantic's ValidationError when it is not one."""
        return contract.model_validate_json(self.body)


def part(kind: Kind, body: BaseModel | bytes, facts: BaseModel | None = None, digest: str | None = None) -> bytes:
    """One part, ready to be written; `facts` travel in a header beside a binary body, whose `digest` may be known."""
    raw = body if isinstance(body, bytes) else body.model_dump_json().encode()
    media_type = "application/octet-stream" if isinstance(body, bytes) else "application/json"
    head = [
        f"--{BOUNDARY}",
        f"Bowerbird-Part: {kind}",
        f"Content-Type: {media_type}",
        f"Content-Length: {len(raw)}",
        f"Bowerbird-Sha256: {digest or hashlib.sha256(raw).hexdigest()}",
    ]
    if facts is not None:
        head.append(f"Bowerbird-Facts: {facts.model_dump_json()}")
    return b"".join(("\r\n".join(head).encode(), _HEAD_END, raw, _LINE_END))


async def body_of(request: BaseModel, *parts: bytes) -> AsyncGenerator[bytes]:
    """The whole stream of a request whose parts are all there."""
    yield part(Kind.REQUEST, request)
    for each in parts:
        yield each
    yield END_OF_STREAM


def error_part(body: dict[str, Any]) -> bytes:
    """An error in OpenAI's shape (`errors.error_body`) as the last part of a stream whose status was already sent."""
    raw = json.dumps(body).encode()
    head = f"--{BOUNDARY}\r\nBowerbird-Part: {Kind.ERROR}\r\nContent-Length: {len(raw)}\r\n\r\n"
    return head.encode() + raw + b"\r\n"


class PartReader:
    """Feeds on the bytes of a stream and yields its parts; checks lengths and digests on the way.

    A part is as long as its header says: its body is taken in one piece and may hold anything, boundaries included.
    """

    def __init__(self, max_part_bytes: int = MAX_PART_BYTES) -> None:
        self._max_part_bytes = max_part_bytes
        self._buffer = b""
        """What was read and not yet taken, from `_at` on; what came since is in `_more`, joined when it is needed: a
        frame is copied once on its way out, not with each piece of it that comes in."""
        self._at = 0
        self._more: list[bytes] = []
        self._available = 0
        self._head: _Head | None = None
        self.ended = False

    def feed(self, chunk: bytes) -> Iterator[Part]:
        """The parts that `chunk` completes; raises StreamBroken when the bytes are not a stream of parts."""
        self._more.append(chunk)
        self._available += len(chunk)
        while not self.ended and (each := self._next()) is not None:
            yield each

    def end(self) -> None:
        """There is no more; raises StreamBroken where the closing boundary did not come."""
        if not self.ended:
            raise StreamBroken("the stream ended before its closing boundary")

    def _next(self) -> Part | None:
        if self._head is None:
            self._head = self._read_head()
        head = self._head
        if head is None or self._available < head.length + len(_LINE_END):
            return None
        buffer, at, self._head = self._joined(), self._at, None
        end = at + head.length
        if buffer[end : end + len(_LINE_END)] != _LINE_END:
            raise StreamBroken(f"a {head.kind} part does not have the {head.length} bytes that its header states")
        raw = buffer[at:end]
        self._take(head.length + len(_LINE_END))
        if head.digest is not None and head.digest != hashlib.sha256(raw).hexdigest():
            raise StreamBroken(f"a {head.kind} part does not have the digest that its header states")
        return Part(head.kind, head.facts, raw, head.digest)

    def _read_head(self) -> _Head | None:
        """The next part's head, taken off the buffer, as soon as all of it is there."""
        buffer, at = self._joined(), self._at
        begin = buffer[at : at + len(_DELIMITER)]
        if begin != _DELIMITER and begin != _DELIMITER[: len(begin)]:
            raise StreamBroken("the bytes are not a stream of parts")
        at += len(_DELIMITER)
        if buffer[at : at + 2] == b"--":
            self.ended = True
            return None
        end = buffer.find(_HEAD_END, at)
        if end < 0:
            if self._available > MAX_HEAD_BYTES:
                raise StreamBroken(f"a part's headers are longer than {MAX_HEAD_BYTES} bytes")
            return None
        head = _head(buffer[at:end], self._max_part_bytes)
        self._take(end + len(_HEAD_END) - self._at)
        return head

    def _joined(self) -> bytes:
        """All that is available, in one piece, from `_at` on."""
        if self._more:
            rest = self._buffer[self._at :]
            self._buffer = b"".join((rest, *self._more)) if rest or len(self._more) > 1 else self._more[0]
            self._at = 0
            self._more.clear()
        return self._buffer

    def _take(self, count: int) -> None:
        self._at += count
        self._available -= count
        if self._available <= self._at:  # what was taken is not held on to for the sake of the little that follows
            self._buffer, self._at = self._buffer[self._at :], 0


@dataclass(frozen=True, slots=True)
class _Head:
    kind: Kind
    length: int
    digest: str | None
    facts: dict[str, Any]


def _head(raw: bytes, max_part_bytes: int) -> _Head:
    """What the lines after a delimiter say; the first one is empty."""
    try:
        first, *lines = raw.decode().split("\r\n")
    except UnicodeDecodeError as error:
        raise StreamBroken("a part's header is not text") from error
    headers = {name.lower(): value.strip() for name, _, value in [line.partition(":") for line in lines]}
    kind, length = headers.get("bowerbird-part", ""), headers.get("content-length", "")
    if first or kind not in _KINDS:
        raise StreamBroken(f"a part of unknown kind {kind[:64]!r}")
    if not (length.isascii() and length.isdigit() and len(length) < 20):
        raise StreamBroken(f"a {kind} part does not say how long it is")
    if int(length) > max_part_bytes:
        raise StreamBroken(f"a part is larger than {max_part_bytes} bytes")
    stated = headers.get("bowerbird-facts")
    try:
        facts = {} if stated is None else json.loads(stated)
    except ValueError as error:
        raise StreamBroken(f"the facts of a {kind} part are not JSON") from error
    return _Head(_KINDS[kind], int(length), headers.get("bowerbird-sha256"), facts)


async def read_parts(chunks: AsyncIterable[bytes], max_part_bytes: int = MAX_PART_BYTES) -> AsyncIterator[Part]:
    """The parts of a request body or an answer, as they arrive.

    Raises StreamBroken when the stream ends before its closing boundary.
    """
    reader = PartReader(max_part_bytes)
    async for chunk in chunks:
        for each in reader.feed(chunk):
            yield each
    reader.end()
