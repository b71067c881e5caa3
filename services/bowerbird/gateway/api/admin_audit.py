"""`GET /v1/admin/audit`: every change by administrators, in order, each chained to the one before it."""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from bowerbird.gateway.api.arrival import gateway_of
from bowerbird.gateway.api.body import ResponseBody
from bowerbird.gateway.api.paging import NUMBER, limit_of, text_of
from bowerbird.gateway.identity.audit_chain import Entry


class AuditEntryBody(ResponseBody):
    """One change."""

    object: Literal["audit_entry"] = "audit_entry"
    number: int = Field(description="From 1, without gaps.")
    at_ms: int = Field(description="Milliseconds since 1970, by the database's clock.")
    actor: str = Field(description="key:<id>, serviceaccount:<namespace>:<name>, local, or a key of the settings.")
    action: str
    subject: str = Field(description="The id of what was changed.")
    before: dict[str, Any] | None = Field(description="null: it was not there.")
    after: dict[str, Any] | None
    request_id: str
    previous_hash: str = Field(description="`hash` of the entry before, hexadecimal; zeros for the first.")
    hash: str = Field(description="SHA-256 over `previous_hash` and the other fields, hexadecimal.")


class AuditList(ResponseBody):
    """Changes, oldest first."""

    object: Literal["list"] = "list"
    data: list[AuditEntryBody]
    has_more: bool


async def list_audit(request: Request) -> Response:
    """A page of changes."""
    limit, after = limit_of(request), int(text_of(request, "after", NUMBER) or 0)
    found = await gateway_of(request).administration.audit.page(after, limit + 1)
    body = AuditList(data=[_body(each) for each in found[:limit]], has_more=len(found) > limit)
    return Response(body.model_dump_json(), media_type="application/json")


def _body(entry: Entry) -> AuditEntryBody:
    return AuditEntryBody(
        number=entry.number,
        at_ms=entry.at_ms,
        actor=entry.actor,
        action=entry.action,
        subject=entry.subject,
        before=None if entry.before is None else json.loads(entry.before),
        after=None if entry.after is None else json.loads(entry.after),
        request_id=entry.request_id,
        previous_hash=entry.previous_hash.hex(),
        hash=entry.hash.hex(),
    )
