"""Request bodies: read with a limit, closed, and refused in words a caller can act on.

Every shape of a JSON request derives from `RequestBody`. A field that is null counts as absent. A refusal names the
field, the value and what is accepted; fields that may hold personal text (`PERSONAL`) are named without their value. A
field or value that OpenAI's API knows and this version does not is refused with its reason (`NOT_HERE`), because
ignoring it would be a lie.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Mapping
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import ErrorDetails
from starlette.requests import Request
from starlette.types import Message

from bowerbird.errors import BodyTooLarge, BodyTooSlow, FieldUnknown, RequestInvalid
from bowerbird.gateway.slow_clients import BODY_IS_THERE, SLOWEST_BYTES_PER_SECOND

MAX_JSON_BYTES = 1_000_000
PAUSE_SECONDS = 15.0
"""How long a body may keep us waiting beyond what its bytes take at the slowest."""
_SHOWN_CHARACTERS = 64


def _with_null(schema: dict[str, Any]) -> None:
    """Says in the schema that a field which may be absent may also be null."""
    required = schema.get("required", [])
    for name, field in schema.get("properties", {}).items():
        if name not in required and {"type": "null"} not in field.get("anyOf", []):
            annotations = {key: field.pop(key) for key in ("description", "default", "examples") if key in field}
            field.pop("title", None)
            constraints = dict(field)
            field.clear()
            field.update({"anyOf": [constraints, {"type": "null"}], **annotations})


class RequestBody(BaseModel):
    """A closed JSON object; strict, so that `"3"` is not a number and `true` not a 1."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, hide_input_in_errors=True, json_schema_extra=_with_null
    )

    NOT_HERE: ClassVar[Mapping[str, str]] = {}
    """`field` or `field=value` that the API knows and this version does not -> why."""

    ACCEPTED: ClassVar[Mapping[str, str]] = {}
    """`field` -> what is accepted, where the shape alone does not say it in words."""

    PERSONAL: ClassVar[frozenset[str]] = frozenset()
    """Fields whose value never stands in an error, a log or a span."""

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, fields: Any) -> Any:
        if not isinstance(fields, dict):
            return fields
        if None not in fields.values():
            return fields
        known = cls.model_fields.keys() | cls.NOT_HERE.keys()
        return {name: value for name, value in fields.items() if value is not None or name not in known}


class ResponseBody(BaseModel):
    """What is answered; closed and with every field, so that the OpenAPI document is complete."""

    model_config = ConfigDict(extra="forbid", frozen=True, json_schema_serialization_defaults_required=True)


Body = TypeVar("Body", bound=RequestBody)


async def read_json(request: Request, contract: type[Body], max_bytes: int = MAX_JSON_BYTES) -> Body:
    """The JSON body as its shape; raises BodyTooLarge, RequestInvalid or FieldUnknown, naming the first wrong field."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise RequestInvalid(
            f"Content-Type {media_type[:_SHOWN_CHARACTERS]!r} is not accepted; send application/json.",
            param="Content-Type",
        )
    raw = b"".join([chunk async for chunk in bounded(request, max_bytes)])
    try:
        return contract.model_validate_json(raw)
    except ValidationError as error:
        findings = error.errors(include_url=False)
        # Of a misspelt field it is found that it is unknown and that the right one is missing: the former says more.
        first = next((each for each in findings if each["type"] != "missing"), findings[0])
        raise refusal(first, contract) from None


async def bounded(
    request: Request, max_bytes: int, bytes_per_second: int = SLOWEST_BYTES_PER_SECOND
) -> AsyncGenerator[bytes]:
    """The body's chunks, as they were sent: what is packed is not unpacked here.

    Raises RequestInvalid for a packed one, BodyTooLarge as soon as it is known to be larger, without reading on, and
    BodyTooSlow.
    """
    encoding = request.headers.get("content-encoding")
    if encoding is not None and encoding.strip().lower() != "identity":
        shown = shown_value(encoding)
        raise RequestInvalid(
            f"Content-Encoding: {shown} is not accepted. Accepted: identity.", param="Content-Encoding"
        )
    stated = request.headers.get("content-length", "")
    if stated.isdigit() and len(stated) < 20 and int(stated) > max_bytes:
        raise _too_large(max_bytes)
    length, more, began = 0, True, time.monotonic()
    while more:
        message = await _next(request, began + PAUSE_SECONDS + length / bytes_per_second, bytes_per_second)
        chunk, more = message.get("body", b""), message.get("more_body", False)
        length += len(chunk)
        if length > max_bytes:
            raise _too_large(max_bytes)
        if chunk:
            yield chunk


def _too_large(max_bytes: int) -> BodyTooLarge:
    return BodyTooLarge(f"The body is larger than the {max_bytes} bytes that are accepted.")


async def _next(request: Request, until: float, bytes_per_second: int) -> Message:
    """More of the body; raises BodyTooSlow when nothing has come at `until`, monotonic seconds."""
    try:
        if BODY_IS_THERE in request.scope:
            message = await request.receive()
        else:
            async with asyncio.timeout(until - time.monotonic()):
                message = await request.receive()
    except TimeoutError as error:
        raise BodyTooSlow(
            f"The body came at less than {bytes_per_second} bytes a second. Accepted: pauses of "
            f"{PAUSE_SECONDS:g} s in all."
        ) from error
    if message["type"] == "http.disconnect":
        raise RequestInvalid("The connection was closed before the body was complete.")
    return message


def refusal(error: ErrorDetails, contract: type[RequestBody]) -> RequestInvalid:
    """One of pydantic's findings as the answer to the caller."""
    path = [str(step) for step in error["loc"]]
    if error["type"] == "json_invalid":
        return RequestInvalid(f"The body is not JSON: {error['msg'].removeprefix('Invalid JSON: ')}.")
    if not path:
        return RequestInvalid("The body must be a JSON object.")
    name, param = path[0], ".".join(path)[:_SHOWN_CHARACTERS]
    if error["type"] == "missing":
        return RequestInvalid(f"{param} is required.", param=param)
    if error["type"] == "extra_forbidden" and len(path) == 1:
        return unknown_field(name, contract)
    shown = "The value" if name in contract.PERSONAL else shown_value(error["input"])
    reason = contract.NOT_HERE.get(f"{name}={error['input']}")
    because = f" in this version: {reason}" if reason else ""
    accepted = contract.ACCEPTED.get(name, error["msg"])
    return RequestInvalid(f"{param}: {shown} is not accepted{because}. {accepted}.", param=param)


def unknown_field(name: str, contract: type[RequestBody]) -> FieldUnknown:
    """The refusal of a field that has no effect here."""
    param = name[:_SHOWN_CHARACTERS]
    reason = contract.NOT_HERE.get(name)
    fact = f"{param} has no effect in this version: {reason}" if reason else f"Unknown field {param!r}"
    return FieldUnknown(f"{fact}. Accepted: {', '.join(contract.model_fields)}.", param=param)


def shown_value(value: Any) -> str:
    """A value as it may stand in an error: short, and only what is not a structure."""
    if isinstance(value, str | int | float):
        text = json.dumps(value, ensure_ascii=False, default=str)
        return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"
    return f"a {type(value).__name__}"
