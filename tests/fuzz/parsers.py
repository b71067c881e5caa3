"""The parsers that read what strangers sent, each with inputs that it takes, from which others are made."""

from __future__ import annotations

import base64
import io
import json
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast

import httpx2
import numpy as np
from PIL import Image

from bowerbird.client import batches, feedback, jobs, models, pictures, provenance, webhooks
from bowerbird.client.calls import Call, Listening
from bowerbird.client.connection import result_of
from bowerbird.client.following import MAX_EVENT_BYTES, Following
from bowerbird.client.retrying import worth_repeating
from bowerbird.contracts import Size
from bowerbird.curation.certificates import load_identity
from bowerbird.curation.credentials import Credentials
from bowerbird.curation.opening import open_picture
from bowerbird.curation.provenance import check as check_provenance
from bowerbird.curation.xmp import digital_source_type
from bowerbird.deadline import Deadline
from bowerbird.errors import BowerbirdError, RequestInvalid
from bowerbird.gateway.api import accepting, arrival, batch_line, edit_request, file_upload, job_stream
from bowerbird.gateway.api import provenance as provenance_form
from bowerbird.gateway.api.body import RequestBody, read_json
from bowerbird.gateway.api.operation import JSON
from bowerbird.gateway.api.operations import OPERATIONS
from bowerbird.gateway.api.query import check_query
from bowerbird.gateway.files.jsonl import LineReader, RawLine
from bowerbird.gateway.identity.access_key import is_key
from bowerbird.gateway.identity.service_accounts import ServiceAccounts, looks_like_token
from bowerbird.gateway.records.cursor import read_cursor, write_cursor
from bowerbird.gateway.results.result import tag_is_known
from bowerbird.gateway.webhooks.addresses import ReachableAddresses
from bowerbird.gateway.webhooks.receivers import check_url
from bowerbird.parts import END_OF_STREAM, Kind, PartReader, part
from bowerbird.pregenerate.rows import TableUnreadable, _rows
from bowerbird.settings import Settings

from .requests import awaited, pieces_of, request_of, request_with

SECRET = b"k" * 32
SIZE = Size(width=16, height=16)
NESTED = b"[" * 20_000


@dataclass(frozen=True, slots=True)
class Parser:
    """One of them; `read` raises nothing but `refusals`."""

    name: str
    read: Callable[[bytes], object]
    seeds: tuple[bytes, ...]
    refusals: tuple[type[Exception], ...] = (BowerbirdError,)
    max_bytes: int = 4_096
    """Of an input."""

    def ask(self, data: bytes) -> None:
        """Reads; a refusal is an answer."""
        with suppress(*self.refusals):
            self.read(data)


class Files:
    """Takes an upload and keeps nothing."""

    async def begin(self, _: object) -> str:
        """A new file."""
        return "file-1"

    async def append(self, *_: object) -> None:
        """More of it."""

    async def give_up(self, _: str) -> None:
        """It is none."""


def read_edit_form(data: bytes) -> None:
    """`POST /v1/images/edits`."""

    async def read() -> None:
        _, files = await edit_request.read_edit(request_of(data))
        await files.close()

    awaited(read())


def read_upload_form(data: bytes) -> None:
    """`POST /v1/files`."""
    awaited(file_upload.read_upload(request_of(data), Files()))  # type: ignore[arg-type]


def read_provenance_form(data: bytes) -> None:
    """`POST /v1/content_provenance_checks`."""

    async def read() -> None:
        file = await provenance_form._uploaded(request_of(data))
        await file.close()

    awaited(read())


BODIES: tuple[type[RequestBody], ...] = tuple(
    dict.fromkeys(
        each.body
        for each in OPERATIONS
        if each.body is not None and each.body_media_type == JSON and issubclass(each.body, RequestBody)
    )
)


def read_json_body(data: bytes) -> None:
    """Every JSON body of the route table; the first byte says which."""
    kind = BODIES[data[0] % len(BODIES)] if data else BODIES[0]
    awaited(read_json(request_with([(b"content-type", b"application/json")], data[1:]), kind))


def read_lines(data: bytes) -> None:
    """A batch's input file: every line is told once and where it lies, and becomes a request or a refusal."""
    endpoint = list(batch_line.KINDS)[len(data) % len(batch_line.KINDS)]
    reader, lines = LineReader(2_000), list[RawLine]()
    for piece in pieces_of(data):
        lines += reader.feed(piece)
    lines += reader.end()
    for line in lines:
        lying = data[line.start : line.start + line.length]
        assert line.content in (None, lying)
        awaited(batch_line.read_line(endpoint, line))
    assert len(lines) == sum(1 for each in data.split(b"\n") if each.strip())


def read_image(data: bytes) -> None:
    """The picture of an edit; what is behind the mark is its mask."""
    content, _, mask = data.partition(b"--mask--")
    open_picture(content, mask or None, SIZE)


@cache
def credentials() -> Credentials:
    """By a certificate of this process' own."""
    with tempfile.TemporaryDirectory() as home:
        return Credentials(load_identity(Settings(home=Path(home))))


def read_provenance(data: bytes) -> None:
    """The file of a content provenance check."""
    check_provenance(data, credentials())


ACCOUNTS = ServiceAccounts(cast("Any", None), Settings(), cast("Any", None))


def read_token(data: bytes) -> None:
    """A bearer token of a ServiceAccount, as far as it is read before the API server is asked about it."""
    token = data.decode("latin-1")
    if looks_like_token(token):
        ACCOUNTS._refuse_early(token)


def read_query(data: bytes) -> None:
    """The query of a list."""
    check_query(data, ("limit", "after", "purpose"))


def read_cursor_text(data: bytes) -> None:
    """`after` of `GET /v1/jobs`."""
    read_cursor(SECRET, "tenant", data.decode("latin-1"))


def read_headers(data: bytes) -> None:
    """Everything that headers say beside credentials: a line each."""
    lines = [line.partition(b":") for line in data.replace(b"\r", b"").split(b"\n")]
    request = request_with([(name.strip().lower(), value.strip()) for name, _, value in lines])
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in request.scope["headers"]}
    is_key(headers.get("authorization", "").removeprefix("Bearer "))
    tag_is_known(headers.get("if-none-match", ""), '"a"')
    arrival._locale(headers.get("accept-language", ""))
    arrival._read_timeout(headers)
    for read in (
        lambda: Deadline.from_headers(headers, 60.0),
        lambda: arrival._work_class(headers),
        lambda: accepting.acceptance_of(request),
        lambda: job_stream._last_event(headers.get("last-event-id", "0")),
    ):
        try:
            read()
        except RequestInvalid:
            continue


def read_parts(data: bytes) -> None:
    """A stage's stream."""
    reader = PartReader()
    for piece in pieces_of(data):
        for each in reader.feed(piece):
            assert each.kind in Kind


def read_webhook_url(data: bytes) -> None:
    """`url` of a webhook endpoint."""
    check_url(data.decode("utf-8", "replace"), ReachableAddresses(), plain_http=False)


def read_species_table(data: bytes) -> None:
    """`bowerbird pregenerate`."""
    for _ in _rows(io.BytesIO(data)):
        pass


def read_xmp(data: bytes) -> None:
    """A picture's claim about itself."""
    digital_source_type(data)


STREAMS: tuple[Listening[Any], ...] = (jobs.job_events("job_1"), pictures.stream("a robin", 1, {}))
CALLS: tuple[Call[Any], ...] = (
    pictures.draw("a robin", {}, 1),
    jobs.get_job("job_1"),
    jobs.list_jobs(),
    models.list_models(),
    models.list_loras(),
    provenance.moderate("a robin"),
    provenance.check_provenance(b""),
    feedback.list_feedback(),
    feedback.get_usage(),
    batches.list_files(),
    batches.get_batch("batch_1"),
    webhooks.list_webhooks(),
)
STATUSES = (200, 202, 400, 404, 409, 429, 500, 503)


def read_stream(data: bytes) -> None:
    """Server-sent events, as the client hears them; the first byte says of which stream."""
    following = Following(STREAMS[(data or b"\0")[0] % len(STREAMS)], 0, Deadline.after(60))
    response = httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=data[1:])
    response.request = httpx2.Request("GET", "http://127.0.0.1/")
    for each in httpx2.EventSource(response, MAX_EVENT_BYTES):
        for _ in following.news(each.event, each.id, each.data):
            pass
        if following.ended:
            break


def read_answer(data: bytes) -> None:
    """An answer, as the client reads it: the first two bytes say of what, the first line is a Retry-After."""
    first, second, *_ = data + b"\0\0"
    call, status = CALLS[first % len(CALLS)], STATUSES[second % len(STATUSES)]
    stated, _, body = data[2:].partition(b"\n")
    headers = [(b"retry-after", bytes(each for each in stated if 32 <= each < 127))]
    response = httpx2.Response(status, headers=headers, content=body)
    worth_repeating(response, call.repeatable)
    result_of(call, response)


FORM = b"multipart/form-data; boundary=b\n"
FILE = b'--b\r\nContent-Disposition: form-data; name="%s"; filename="a.png"\r\n\r\n%s\r\n'
TEXT = b'--b\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'
END = b"--b--\r\n"


def picture(kind: str, mode: str = "RGB", **options: Any) -> bytes:
    """A small picture as a file."""
    pixels = np.arange(16 * 16 * 4, dtype=np.uint8).reshape(16, 16, 4)
    written = io.BytesIO()
    Image.fromarray(pixels, "RGBA").convert(mode).save(written, kind, **options)
    return written.getvalue()


def signed() -> bytes:
    """A picture with a manifest."""
    created = {"action": "c2pa.created", "digitalSourceType": "http://c2pa.org/digitalsourcetype/empty"}
    actions = {"label": "c2pa.actions.v2", "data": {"actions": [created]}}
    manifest = {"claim_generator_info": [{"name": "fuzz"}], "assertions": [actions]}
    return credentials().sign(picture("PNG"), "image/png", manifest).content


def example_bodies() -> tuple[bytes, ...]:
    """The example of each JSON body of the route table, under its number."""
    examples = {each.body: json.dumps(dict(each.example)).encode() for each in OPERATIONS if each.example}
    return tuple(bytes([n]) + examples.get(kind, b"{}") for n, kind in enumerate(BODIES))


LINE = b'{"custom_id": "1", "method": "POST", "url": "/v1/images/generations", "body": {"prompt": "a robin"}}\n'
EVENTS = (
    b'\0id: 1\nevent: queued\ndata: {"id": "job_1"}\n\n: comment\n\nevent: heartbeat\ndata: {"phase": "draw"}'
    b'\n\nid: 2\nevent: succeeded\ndata: {"id": "job_1"}\n\n',
    b'\1event: image_generation.partial_image\ndata: {"type": "image_generation.partial_image", "b64_json": '
    b'"AAAA", "partial_image_index": 0, "output_format": "png"}\n\n',
    b'\1event: error\ndata: {"type": "error", "error": {"message": "m", "type": "t", "param": null, "code": "q"}}\n\n',
    b"\0data: " + NESTED + b"\n\n",
)
ANSWERS = (
    b"\0\0\n" + b'{"data": [{"b64_json": "AAAA", "revised_prompt": null}], "output_format": "png", "bowerbird": '
    b'{"images": [{"seed": 1, "scores": []}], "request_id": "r", "trace_id": null, "model": "m", "model_digest": "d", '
    b'"seconds": {}}}',
    b'\1\2120\n{"error": {"message": "m", "type": "t", "param": null, "code": "queue_full"}}',
    b"\2\0Wed, 21 Oct 2026 07:28:00 GMT\n" + b'{"object": "list", "data": [], "has_more": false, "next_cursor": null}',
    b"\3\0\n" + NESTED,
)
PARTS = part(Kind.PROGRESS, b"{}") + part(Kind.FRAMES, b"\0" * 64) + END_OF_STREAM

PARSERS: tuple[Parser, ...] = (
    Parser(
        "edit_form",
        read_edit_form,
        (
            FORM + FILE % (b"image", b"bytes") + FILE % (b"mask", b"bytes") + TEXT % (b"prompt", b"a robin") + END,
            FORM + FILE % (b"image[]", b"x") + TEXT % (b"n", b"2") + TEXT % (b"strength", b"0.5") + END,
            FORM + b"--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n" + END,
        ),
    ),
    Parser(
        "upload_form",
        read_upload_form,
        (
            FORM + TEXT % (b"purpose", b"batch") + FILE % (b"file", LINE) + END,
            FORM + TEXT % (b"expires_after[seconds]", b"3600") + FILE % (b"file", b"") + END,
            FORM + FILE % (b"file", b"../../etc/passwd") + TEXT % (b"purpose", b"batch") + END,
        ),
    ),
    Parser("provenance_form", read_provenance_form, (FORM + FILE % (b"file", b"bytes") + END, FORM + END)),
    Parser("json_body", read_json_body, (*example_bodies(), b"\0" + NESTED)),
    Parser(
        "batch_lines", read_lines, (LINE, b"\xef\xbb\xbf" + LINE * 3, b"\n \n{}\n" + LINE, NESTED, b'{"a":' * 5_000)
    ),
    Parser(
        "image",
        read_image,
        (
            picture("PNG", "RGBA"),
            picture("PNG", "P"),
            picture("JPEG"),
            picture("JPEG", progressive=True),
            picture("WEBP"),
            picture("WEBP", "RGBA", lossless=True),
            picture("PNG") + b"--mask--" + picture("PNG", "RGBA"),
        ),
    ),
    Parser("provenance_file", read_provenance, (*map(picture, ("PNG", "JPEG", "WEBP")), signed()), max_bytes=16_384),
    Parser(
        "token",
        read_token,
        tuple(
            b"eyJh." + base64.urlsafe_b64encode(claims).rstrip(b"=") + b".c2ln"
            for claims in (b'{"aud": ["bowerbird"], "exp": 9999999999}', b'{"aud": 7}', b'{"aud": ["bowerbird"]}', b"[")
        ),
    ),
    Parser("query", read_query, (b"limit=2&after=x", b"limit=2&limit=3", b"%6cimit=%ff", b"&=&;a=b")),
    Parser("xmp", read_xmp, (b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a b="c">d</a></x:xmpmeta>', b"<x:xmpmeta" * 40)),
    Parser("cursor", read_cursor_text, (write_cursor(SECRET, "tenant", 1_795_281_245_000, "job_1").encode(), b"=")),
    Parser(
        "headers",
        read_headers,
        (
            b"bowerbird-deadline-ms: 5000\nprefer: respond-async, wait=10\nidempotency-key: a b\nlast-event-id: 7",
            b'authorization: Bearer bb_x\nif-none-match: W/"a", "b"\naccept-language: de;q=0.9\nbowerbird-class: batch',
            b"x-stainless-read-timeout: 1e400\nbowerbird-deadline-ms: \xb2\nlast-event-id: \xb2",
        ),
    ),
    Parser("parts", read_parts, (PARTS, PARTS.replace(b"{}", b'{"a": 1}'))),
    Parser(
        "webhook_url",
        read_webhook_url,
        (
            b"https://birds.example/hook?x=1",
            b"https://[::1]:443/",
            b"https://0x7f.1/",
            b"https://user:word@a.b:99999/",
            b"https://[::]@",
        ),
    ),
    Parser(
        "species_table",
        read_species_table,
        (
            b"id,common_name,scientific_name,pose\nblue-jay,Blue jay,Cyanocitta cristata,perched\n",
            b'\xef\xbb\xbfid,common_name,scientific_name,variation\r\n"a","b ""c""",d,1\r\n"unclosed,b,c,2\r\n',
        ),
        (TableUnreadable,),
    ),
    Parser("client_stream", read_stream, EVENTS, (BowerbirdError, httpx2.TransportError)),
    Parser("client_answer", read_answer, ANSWERS),
)
BY_NAME = {each.name: each for each in PARSERS}
