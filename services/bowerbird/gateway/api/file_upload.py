"""The form of `POST /v1/files`, read as it comes: its file goes into parts of a few MiB, and never lies here whole.

The fields may come before or after the file, so what is wrong with them may be known only when the file is stored; it
is given up then, as it is when the body breaks off, is too large or too slow, or the tenant may store no more.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from bowerbird.errors import FieldUnknown, RequestInvalid
from bowerbird.gateway.api.body import bounded
from bowerbird.gateway.api.file_bodies import EXPIRES_ANCHOR, EXPIRES_SECONDS, UploadFields, read_fields
from bowerbird.gateway.files.file import MAX_FILE_BYTES, NAMELESS, PART_BYTES, Purpose, safe_name
from bowerbird.gateway.files.files import Files, NewFile
from bowerbird.gateway.files.jsonl import LineReader

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

MAX_FORM_BYTES = MAX_FILE_BYTES + 64 * 1024
"""The file, the fields, and the boundaries around them."""
MAX_VALUE_BYTES = 1024
SLOWEST_BYTES_PER_SECOND = 16 * 1024
"""The largest file takes three and a half hours so; what is still open after six was left behind."""
FIELDS = ("purpose", EXPIRES_ANCHOR, EXPIRES_SECONDS)


@dataclass(slots=True)
class Upload:
    """What came of a form that was read to its end."""

    file_id: str
    filename: str
    fields: UploadFields
    digest: bytes
    """Of the file's bytes, its name and the fields: the same for the same request, whatever its boundary is."""


@dataclass(slots=True)
class _Part:
    """One part of the form, as far as it has come."""

    headers: dict[bytes, bytes] = field(default_factory=dict)
    header_name: bytes = b""
    header_value: bytes = b""
    name: str = ""
    filename: str | None = None
    value: bytearray = field(default_factory=bytearray)


class _Form:
    """The callbacks of the parser: fields are kept, the file's bytes wait in `arrived` to be taken."""

    def __init__(self) -> None:
        self.fields: dict[str, str] = {}
        self.filename: str | None = None
        self.arrived = bytearray()
        self.ended = False
        self._part = _Part()

    @property
    def callbacks(self) -> MultipartCallbacks:
        """As the parser knows them."""
        return {
            "on_part_begin": self.on_part_begin,
            "on_header_field": self.on_header_field,
            "on_header_value": self.on_header_value,
            "on_header_end": self.on_header_end,
            "on_headers_finished": self.on_headers_finished,
            "on_part_data": self.on_part_data,
            "on_part_end": self.on_part_end,
            "on_end": self.on_end,
        }

    def on_part_begin(self) -> None:
        self._part = _Part()

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._part.header_name += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._part.header_value += data[start:end]

    def on_header_end(self) -> None:
        self._part.headers[self._part.header_name.lower()] = self._part.header_value
        self._part.header_name = self._part.header_value = b""

    def on_headers_finished(self) -> None:
        _, options = parse_options_header(self._part.headers.get(b"content-disposition", b""))
        self._part.name = options.get(b"name", b"").decode(errors="replace")
        name, is_file = self._part.name, b"filename" in options
        if is_file and name != "file":
            raise FieldUnknown("A file is accepted as 'file' only.", param=name[:64] or None)
        if not is_file and name not in FIELDS:
            accepted = ", ".join(("file", *FIELDS))
            raise FieldUnknown(f"Unknown field {name[:64]!r}. Accepted: {accepted}.", param=name[:64] or None)
        if name in self.fields or (is_file and self.filename is not None):
            raise RequestInvalid(f"{name}: it was sent more than once. Accepted: one {name}.", param=name)
        if is_file:
            self.filename = self._part.filename = safe_name(options[b"filename"].decode(errors="replace"))

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._part.filename is not None:
            self.arrived += data[start:end]
        elif len(self._part.value) + end - start > MAX_VALUE_BYTES:
            name = self._part.name
            raise RequestInvalid(f"{name}: it is longer than any value that is accepted.", param=name)
        else:
            self._part.value += data[start:end]

    def on_part_end(self) -> None:
        if self._part.filename is None:
            self.fields[self._part.name] = self._part.value.decode(errors="replace")

    def on_end(self) -> None:
        self.ended = True


async def read_upload(request: Request, files: Files) -> Upload:
    """The open file that the form has become.

    Raises RequestInvalid, FieldUnknown, BodyTooLarge, BodyTooSlow or StorageFull; then nothing of it is kept.
    """
    file_id = await files.begin(NewFile(request.state.tenant, Purpose.BATCH, NAMELESS))
    try:
        return await _read(request, files, file_id)
    except BaseException:
        await files.give_up(file_id)
        raise


async def _read(request: Request, files: Files, file_id: str) -> Upload:
    form, stored = _Form(), _Stored(files, request.state.tenant, file_id)
    parser = MultipartParser(_boundary(request), form.callbacks)
    async for chunk in bounded(request, MAX_FORM_BYTES, SLOWEST_BYTES_PER_SECOND):
        try:
            parser.write(chunk)
        except FormParserError as error:
            raise RequestInvalid("The form cannot be read: it is no multipart/form-data.") from error
        await stored.take(form.arrived)
    if not form.ended:
        raise RequestInvalid("The form cannot be read: it ends before its last boundary.")
    await stored.end(form.arrived)
    if form.filename is None:
        raise RequestInvalid("file is required: the bytes of one JSONL file.", param="file")
    fields = read_fields(form.fields)
    said = f"{form.filename}\n{fields.model_dump_json()}".encode()
    return Upload(file_id, form.filename, fields, stored.digest() + said)


class _Stored:
    """The file on its way into its parts."""

    def __init__(self, files: Files, tenant: str, file_id: str) -> None:
        self._files = files
        self._tenant = tenant
        self._file_id = file_id
        self._lines = LineReader(0)
        self._bytes = 0
        self._sha256 = hashlib.sha256()

    async def take(self, arrived: bytearray) -> None:
        """Puts what fills a part."""
        while len(arrived) >= PART_BYTES:
            piece = bytes(arrived[:PART_BYTES])
            del arrived[:PART_BYTES]
            await self._put(piece, last=False)

    async def end(self, arrived: bytearray) -> None:
        """Puts the rest."""
        await self._put(bytes(arrived), last=True)

    def digest(self) -> bytes:
        """Of all that was put."""
        return self._sha256.digest()

    def _look_at(self, piece: bytes, *, last: bool) -> int:
        self._sha256.update(piece)
        ended = sum(1 for _ in self._lines.feed(piece))
        return ended + (sum(1 for _ in self._lines.end()) if last else 0)

    async def _put(self, piece: bytes, *, last: bool) -> None:
        self._bytes += len(piece)
        if self._bytes > MAX_FILE_BYTES:
            raise RequestInvalid(f"file: it is larger than the {MAX_FILE_BYTES} bytes that are accepted.", param="file")
        lines = await asyncio.to_thread(self._look_at, piece, last=last)  # some ten milliseconds
        if piece:
            await self._files.append(self._tenant, self._file_id, piece, lines)


def _boundary(request: Request) -> bytes:
    media_type, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary", b"")
    if media_type != b"multipart/form-data" or not 0 < len(boundary) <= 70:
        raise RequestInvalid("Content-Type must be multipart/form-data with a boundary.", param="Content-Type")
    return boundary
