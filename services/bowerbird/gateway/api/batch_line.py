"""A line of a batch: which shape it has, what is asked in it, and what is written of it afterwards.

    {"custom_id": "robin-1", "method": "POST", "url": "/v1/images/generations", "body": {"prompt": "…"}}

The body is that of the endpoint's own requests, checked by the same shapes; an edit's files are data URLs in it. What
is wrong with a line is that line's error. Errors of a body are answered as the endpoint answers them; what is no
request at all, or is not run, has an `error` and no `response`.
"""

from __future__ import annotations

import asyncio
import codecs
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from bowerbird.contracts import MAX_FILE_BYTES
from bowerbird.errors import BatchExpired, BowerbirdError, LineErased, LineUnreadable, error_body
from bowerbird.gateway.api.batch_bodies import EDITS, GENERATIONS, MODERATIONS
from bowerbird.gateway.api.batch_edit import EditPictures
from bowerbird.gateway.api.body import MAX_JSON_BYTES, RequestBody, refusal
from bowerbird.gateway.api.image_request import GenerateImages
from bowerbird.gateway.api.moderations import CreateModeration
from bowerbird.gateway.batches.batch import BatchClaim, Outcome
from bowerbird.gateway.files.jsonl import RawLine

MAX_EDIT_BYTES = MAX_FILE_BYTES * 4 // 3 + MAX_JSON_BYTES
"""Both files in base64, and the rest of the line."""
LARGE_BYTES = 128 * 1024
"""A line that is read in a thread: the loop would stand still for a millisecond or more."""

CustomId = Annotated[str, Field(min_length=1, max_length=512, pattern=r"^[^\x00-\x1f\x7f]+$")]
Asked = GenerateImages | EditPictures | CreateModeration


class LineBody(RequestBody):
    """What every line has."""

    custom_id: CustomId
    method: Literal["POST"]

    ACCEPTED: ClassVar[Mapping[str, str]] = {
        "custom_id": "Accepted: a text of 1 to 512 characters without control characters, each once in a file",
        "url": "Accepted: the endpoint of the batch",
    }
    PERSONAL: ClassVar[frozenset[str]] = frozenset({"body"})


class GenerationLine(LineBody):
    """A line of a batch of generations."""

    url: Literal["/v1/images/generations"]
    body: GenerateImages


class EditLine(LineBody):
    """A line of a batch of edits."""

    url: Literal["/v1/images/edits"]
    body: EditPictures


class ModerationLine(LineBody):
    """A line of a batch of moderations."""

    url: Literal["/v1/moderations"]
    body: CreateModeration


@dataclass(frozen=True, slots=True)
class Kind:
    """What the lines of a batch are."""

    line: type[GenerationLine] | type[EditLine] | type[ModerationLine]
    body: type[RequestBody]
    max_bytes: int


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        GENERATIONS: Kind(GenerationLine, GenerateImages, MAX_JSON_BYTES),
        EDITS: Kind(EditLine, EditPictures, MAX_EDIT_BYTES),
        MODERATIONS: Kind(ModerationLine, CreateModeration, MAX_JSON_BYTES),
    }
)
"""By the batch's endpoint."""


@dataclass(frozen=True, slots=True)
class ReadLine:
    """A line that was looked at: what is asked, or why nothing can be."""

    raw: RawLine
    custom_id: str | None
    asked: Asked | BowerbirdError


class _Named(BaseModel):
    """What is wanted of a line whatever else is wrong with it."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    custom_id: CustomId | None = None
    erased: Any = None


def max_line_bytes(endpoint: str) -> int:
    """How long a line of such a batch may be."""
    return KINDS[endpoint].max_bytes


async def read_line(endpoint: str, raw: RawLine) -> ReadLine:
    """The line, looked at; raises nothing."""
    if raw.length > LARGE_BYTES:
        return await asyncio.to_thread(_read, endpoint, raw)
    return _read(endpoint, raw)


def _read(endpoint: str, raw: RawLine) -> ReadLine:
    if raw.content is None:
        fact = f"The line is longer than the {KINDS[endpoint].max_bytes} bytes that are accepted."
        return ReadLine(raw, None, LineUnreadable(fact))
    text = raw.content.removeprefix(codecs.BOM_UTF8) if raw.number == 1 else raw.content
    return _understood(KINDS[endpoint], replace(raw, content=None), text)  # its bytes are not held any longer


def _understood(kind: Kind, raw: RawLine, text: bytes) -> ReadLine:
    custom_id = None
    try:
        named = _Named.model_validate_json(text)
        custom_id = named.custom_id
        if named.erased is not None:
            return ReadLine(raw, custom_id, LineErased("The line was erased from the input file: it is not run."))
    except ValidationError:  # what is wrong is said below, in the words of the line's shape
        pass
    try:
        line = kind.line.model_validate_json(text)
    except ValidationError as error:
        return ReadLine(raw, custom_id, _refusal(error.errors(include_url=False)[0], kind))
    if isinstance(line.body, GenerateImages | EditPictures) and line.body.stream:
        fact = "stream: true is not accepted in a line: nobody listens. Accepted: false."
        return ReadLine(raw, line.custom_id, LineUnreadable(fact, param="body.stream"))
    return ReadLine(raw, line.custom_id, line.body)


def _refusal(error: ErrorDetails, kind: Kind) -> BowerbirdError:
    """What is wrong with a body, as its endpoint would say it; or with what is around it."""
    where = error["loc"]
    if len(where) > 1 and where[0] == "body":
        inside: Any = {**error, "loc": where[1:]}
        return refusal(inside, kind.body)
    if error["type"] == "json_invalid":
        return LineUnreadable(f"The line is not JSON: {error['msg'].removeprefix('Invalid JSON: ')}.")
    if not where:
        return LineUnreadable("The line must be a JSON object.")
    found = refusal(error, kind.line)
    return LineUnreadable(found.message, param=found.param)


NOT_RUN = (LineUnreadable, LineErased, BatchExpired)
"""Errors of lines that no endpoint was asked about."""


def answered(claim: BatchClaim, line: ReadLine, body: bytes) -> bytes:
    """The line of the output file; `body` is JSON, and copied as it is."""
    return _written(claim, line, 200, body)


def refused(claim: BatchClaim, line: ReadLine, error: BowerbirdError) -> Outcome:
    """The outcome of a line that has an error instead of an answer."""
    if isinstance(error, NOT_RUN):
        facts = {"code": error.code, "message": error.message, "param": error.param, "line": line.raw.number}
        text = json.dumps({**_head(claim, line), "response": None, "error": facts}, ensure_ascii=False).encode()
        return Outcome(line.raw.number, succeeded=False, text=text + b"\n")
    body = json.dumps(error_body(error), ensure_ascii=False).encode()
    return Outcome(line.raw.number, succeeded=False, text=_written(claim, line, error.status, body))


def request_id_of(claim: BatchClaim, number: int) -> str:
    """What a line's request is called in usage, feedback, traces and the pictures' label."""
    return f"{claim.batch_id}-{number}"


def _written(claim: BatchClaim, line: ReadLine, status: int, body: bytes) -> bytes:
    head = json.dumps(_head(claim, line), ensure_ascii=False).encode()
    request_id = json.dumps(request_id_of(claim, line.raw.number)).encode()
    return b'%b, "response": {"status_code": %d, "request_id": %b, "body": %b}, "error": null}\n' % (
        head[:-1],
        status,
        request_id,
        body,
    )


def _head(claim: BatchClaim, line: ReadLine) -> dict[str, Any]:
    number = request_id_of(claim, line.raw.number).removeprefix("batch_")
    return {"id": f"batch_req_{number}", "custom_id": line.custom_id}
