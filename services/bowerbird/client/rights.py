"""`/v1/erasures` and `/v1/exports`: a person's rights, and, for administrators below `/v1/admin`, a tenant's.

With `tenant` a call is an administrator's: about that tenant, or its end user where one is named. Without, it is about
an end user of the caller's own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from bowerbird.client.calls import Call, Page, Received, Value, get, keyed, last_id, page_of, step, value_of

Result = TypeVar("Result")

FINISHED = "finished"


class Erasure(Value):
    """An erasure as the gateway last knew it."""

    id: str
    tenant: str
    person: str | None
    """A keyed name of the end user; None: everything of the tenant."""
    status: str
    """requested, running or finished."""
    step: str | None
    erased: dict[str, int]
    """What is gone so far, by kind."""
    rewritten: bool | None
    """Whether the database's files were written anew at the end."""
    requested_at: int
    """Unix seconds, as every `…_at`."""
    due_at: int
    finished_at: int | None


class Export(Value):
    """The right to fetch an archive."""

    id: str
    tenant: str
    person: str | None
    """A keyed name of the end user; None: everything of the tenant."""
    archive: str
    """Path of the archive (`fetch_archive`)."""
    created_at: int
    """Unix seconds, as every `…_at`."""
    expires_at: int


def erase(safety_identifier: str | None = None, tenant: str | None = None) -> Call[Erasure]:
    """`POST /v1/erasures`, or below `/v1/admin` with a tenant; what is under way already is the same erasure."""
    return _asked("erasures", value_of(Erasure), safety_identifier, tenant)


def get_erasure(erasure_id: str, *, administers: bool = False) -> Call[Erasure]:
    """`GET /v1/erasures/{erasure}`."""
    return get(f"{_path('erasures', administers)}/{step(erasure_id)}", value_of(Erasure))


def list_erasures(
    limit: int | None = None, after: str | None = None, *, administers: bool = False
) -> Call[Page[Erasure]]:
    """`GET /v1/erasures`, newest first."""
    return get(_path("erasures", administers), page_of(Erasure, last_id), limit=limit, after=after)


def export(safety_identifier: str | None = None, tenant: str | None = None) -> Call[Export]:
    """`POST /v1/exports`, or below `/v1/admin` with a tenant: an hour in which the archive can be fetched."""
    return _asked("exports", value_of(Export), safety_identifier, tenant)


def fetch_archive(exported: Export) -> Call[bytes]:
    """`GET` of an export's archive, for a client's `download`: it may be larger than memory."""
    return get(exported.archive, _body)


def end_export(exported: Export) -> Call[Export]:
    """`DELETE` of an export: nobody fetches its archive any more."""
    return Call("DELETE", exported.archive.removesuffix("/archive"), value_of(Export))


def _asked(
    what: str, read: Callable[[Received], Result], safety_identifier: str | None, tenant: str | None
) -> Call[Result]:
    named = {"tenant": tenant, "safety_identifier": safety_identifier}
    body = {name: value for name, value in named.items() if value is not None}
    call = Call("POST", _path(what, tenant is not None), read, json=body)
    return call if tenant is not None else keyed(call)


def _path(what: str, administers: bool) -> str:
    return f"/v1/admin/{what}" if administers else f"/v1/{what}"


def _body(received: Received) -> bytes:
    return received.body
