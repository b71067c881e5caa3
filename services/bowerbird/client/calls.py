"""The API's calls without a network: what is sent, and how an answer is read. Both clients share them.

A `Call` is a request and the function that reads its answer, a `Listening` a request that is answered by a stream of
events, so that a sync and an async client differ by one `await`. The other files of this package make them, by subject.
A request may hold a prompt, which stands in no `repr`.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import IO, Any, Generic, TypeVar
from urllib.parse import quote, urlencode

from pydantic import BaseModel, ConfigDict, ValidationError

from bowerbird.client.retrying import retry_after_seconds
from bowerbird.errors import BowerbirdError, StageBroken, error_from_body

Result = TypeVar("Result")
Event = TypeVar("Event")
Item = TypeVar("Item")

KEY_HEADER = "Idempotency-Key"
JSON_MEDIA_TYPE = "application/json"

File = tuple[str, bytes | IO[bytes]]
"""A name and the content; what is opened must be seekable: it is read anew when it is sent again."""


class Value(BaseModel):
    """What the gateway says. Fields that a newer gateway adds are passed over; errors do not quote what was read."""

    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)


Read = TypeVar("Read", bound=Value)


@dataclass(frozen=True, slots=True)
class Received:
    """An answer as it arrived; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Call(Generic[Result]):
    """One request to the gateway; `read` turns its answer into the result."""

    method: str
    path: str
    read: Callable[[Received], Result] = field(repr=False)
    json: Mapping[str, Any] | None = field(default=None, repr=False)
    fields: Mapping[str, str] | None = field(default=None, repr=False)
    """Of a form, beside its files."""
    files: Mapping[str, File] | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)
    repeatable: bool = False
    """Whether sending it twice is as good as once, whatever became of the first: see `retrying`."""


@dataclass(frozen=True, slots=True)
class Heard(Generic[Event]):
    """One event of a stream."""

    event: Event
    number: int | None
    """Its place among those of its stream; what was heard before is passed over. None: it is told each time."""
    last: bool
    """Nothing comes after it."""


@dataclass(frozen=True, slots=True)
class Listening(Generic[Event]):
    """A request that is answered by server-sent events; `read` reads one by its name, id and data."""

    call: Call[None]
    read: Callable[[str, str, str], Heard[Event]] = field(repr=False)
    resumed_by_id: bool = False
    """Whether the gateway goes on after `Last-Event-ID`; else it begins anew, and the same events come again."""


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """Some of a list."""

    items: Sequence[Item]
    next_cursor: str | None
    """`after` of the page behind it; None: this is the last."""


def get(path: str, read: Callable[[Received], Result], **query: object) -> Call[Result]:
    """A GET; a query parameter that is None is left out."""
    return Call("GET", with_query(path, query), read, repeatable=True)


def keyed(call: Call[Result], key: str | None = None) -> Call[Result]:
    """The call under an Idempotency-Key (a new one where none is given), so that sending it again changes nothing."""
    headers = {**call.headers, KEY_HEADER: key or secrets.token_urlsafe(24)}
    return replace(call, headers=headers, repeatable=True)


def with_query(path: str, query: Mapping[str, object]) -> str:
    """The path with what is stated of the query."""
    stated = {name: str(value) for name, value in query.items() if value is not None}
    return f"{path}?{urlencode(stated)}" if stated else path


def text(value: object) -> str:
    """As a form says it."""
    return json.dumps(value) if isinstance(value, bool | int | float) else str(value)


def step(name: str) -> str:
    """A name as one step of a path, whatever is in it."""
    return quote(name, safe="")


def value_of(kind: type[Read]) -> Callable[[Received], Read]:
    """Reads an answer that is one value; raises StageBroken when it is not."""

    def read(received: Received) -> Read:
        return parsed(kind, received.body)

    return read


def page_of(kind: type[Read], cursor: Callable[[Mapping[str, Any]], str | None]) -> Callable[[Received], Page[Read]]:
    """Reads a page of a list; `cursor` finds where the next one begins."""

    def read(received: Received) -> Page[Read]:
        body = object_of(received)
        try:
            items = [kind.model_validate(each) for each in body["data"]]
            return Page(items, cursor(body) if body["has_more"] else None)
        except (KeyError, TypeError, ValidationError) as error:
            raise StageBroken("The answer is not a page of a list.") from error

    return read


def next_cursor(body: Mapping[str, Any]) -> str | None:
    """Of lists that say it."""
    cursor = body["next_cursor"]
    return None if cursor is None else str(cursor)


def last_id(body: Mapping[str, Any]) -> str | None:
    """Of lists whose next page begins after the last id of this one."""
    return str(body["data"][-1]["id"]) if body["data"] else None


def parsed(kind: type[Read], raw: str | bytes) -> Read:
    """A value of JSON; raises StageBroken."""
    try:
        return kind.model_validate_json(raw)
    except ValidationError as error:
        raise StageBroken(f"The answer is not a {kind.__name__}.") from error


def object_of(received: Received) -> dict[str, Any]:
    """The answer as a JSON object; raises StageBroken."""
    try:
        body = json.loads(received.body)
    except (ValueError, RecursionError) as error:
        raise StageBroken("The answer is not JSON.") from error
    if not isinstance(body, dict):
        raise StageBroken("The answer is not a JSON object.")
    return body


def failure(received: Received) -> BowerbirdError:
    """The fact behind an answer of 400 or more; StageBroken when it is not the gateway that speaks."""
    seconds = retry_after_seconds(received.headers)
    try:
        body = json.loads(received.body)
    except (ValueError, RecursionError):
        body = None
    fact = error_from_body(received.status, body, None if seconds is None else round(seconds))
    return fact or StageBroken(f"The answer has status {received.status} and is not the gateway's.")
