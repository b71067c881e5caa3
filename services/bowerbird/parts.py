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
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

from pydantic import BaseModel
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser

from bowerbird.errors import StageBroken

BOUNDARY = "bowerbird-part"
CONTENT_TYPE = f"multipart/mixed; boundary={BOUNDARY}"
END_OF_STREAM = f"--{BOUNDARY}--\r\n".encode()
MAX_PART_BYTES = 64 * 1024 * 1024

Body = TypeVar("Body", bound=BaseModel)


class StreamBroken(StageBroken):
    """A stream of parts ended early, or a part is not what its header says."""


class Kind(StrEnum):
    """What a part is."""

    REQUEST = "request"
    PROGRESS = "progress"
    PREVIEW = "preview"
    FRAMES = "frames"
    PICTURE = "picture"
    DONE = "done"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Part:
    """One part as it was read: its kind, its facts (the `Bowerbird-Facts` header, JSON) and its bytes."""

    kind: Kind
    facts: dict[str, Any]
    body: bytes

    def read(self, contract: type[Body]) -> Body:
        """The JSON body as a contract; raises pydantic's ValidationError when it is not one."""
        return contract.model_validate_json(self.body)


def part(kind: Kind, body: BaseModel | bytes, facts: BaseModel | None = None) -> bytes:
    """One part, ready to be written; `facts` travel in a header beside a binary body."""
    raw = body if isinstance(body, bytes) else body.model_dump_json().encode()
    media_type = "application/octet-stream" if isinstance(body, bytes) else "application/json"
    head = [
        f"--{BOUNDARY}",
        f"Bowerbird-Part: {kind}",
        f"Content-Type: {media_type}",
        f"Content-Length: {len(raw)}",
        f"Bowerbird-Sha256: {hashlib.sha256(raw).hexdigest()}",
    ]
    if facts is not None:
        head.append(f"Bowerbird-Facts: {facts.model_dump_json()}")
    return "\r\n".join(head).encode() + b"\r\n\r\n" + raw + b"\r\n"


def error_part(body: dict[str, Any]) -> bytes:
    """An error in OpenAI's shape (`errors.error_body`) as the last part of a stream whose status was already sent."""
    raw = json.dumps(body).encode()
    head = f"--{BOUNDARY}\r\nBowerbird-Part: {Kind.ERROR}\r\nContent-Length: {len(raw)}\r\n\r\n"
    return head.encode() + raw + b"\r\n"


class PartReader:
    """Feeds on the bytes of a stream and yields its parts; checks lengths and digests on the way."""

    def __init__(self, max_part_bytes: int = MAX_PART_BYTES) -> None:
        self._max_part_bytes = max_part_bytes
        self._header_name = b""
        self._header_value = b""
        self._headers: dict[str, str] = {}
        self._body = bytearray()
        self._finished: list[Part] = []
        self.ended = False
        self._parser = MultipartParser(
            BOUNDARY,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._name,
                "on_header_value": self._value,
                "on_header_end": self._header,
                "on_part_data": self._data,
                "on_part_end": self._end,
                "on_end": self._stop,
            },
        )

    def feed(self, chunk: bytes) -> Iterator[Part]:
        """The parts that `chunk` completes; raises StreamBroken when the bytes are not a stream of parts."""
        try:
            self._parser.write(chunk)
        except MultipartParseError as error:
            raise StreamBroken("the bytes are not a stream of parts") from error
        while self._finished:
            yield self._finished.pop(0)

    def _begin(self) -> None:
        self._headers = {}
        self._body = bytearray()

    def _name(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _header(self) -> None:
        try:
            self._headers[self._header_name.decode("ascii").lower()] = self._header_value.decode("utf-8")
        except UnicodeDecodeError as error:
            raise StreamBroken("a part's header is not text") from error
        self._header_name = self._header_value = b""

    def _data(self, data: bytes, start: int, end: int) -> None:
        if len(self._body) + end - start > self._max_part_bytes:
            raise StreamBroken(f"a part is larger than {self._max_part_bytes} bytes")
        self._body += data[start:end]

    def _end(self) -> None:
        raw = bytes(self._body)
        kind = self._headers.get("bowerbird-part", "")
        if kind not in set(Kind):
            raise StreamBroken(f"a part of unknown kind {kind!r}")
        if self._headers.get("content-length") != str(len(raw)):
            raise StreamBroken(f"a {kind} part has {len(raw)} bytes, its header says otherwise")
        digest = self._headers.get("bowerbird-sha256")
        if digest is not None and digest != hashlib.sha256(raw).hexdigest():
            raise StreamBroken(f"a {kind} part does not have the digest its header states")
        try:
            facts = json.loads(self._headers.get("bowerbird-facts", "{}"))
        except ValueError as error:
            raise StreamBroken(f"the facts of a {kind} part are not JSON") from error
        self._finished.append(Part(Kind(kind), facts, raw))

    def _stop(self) -> None:
        self.ended = True


async def read_parts(chunks: AsyncIterable[bytes], max_part_bytes: int = MAX_PART_BYTES) -> AsyncIterator[Part]:
    """The parts of a request body or an answer, as they arrive.

    Raises StreamBroken when the stream ends before its closing boundary.
    """
    reader = PartReader(max_part_bytes)
    async for chunk in chunks:
        for each in reader.feed(chunk):
            yield each
    if not reader.ended:
        raise StreamBroken("the stream ended before its closing boundary")
