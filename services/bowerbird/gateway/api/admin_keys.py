"""`/v1/admin/keys`: keys are issued, rotated with overlap and revoked. A key's text is in the answer that issues it,
once: it is kept nowhere, and the answer says that nobody on its way may keep it either (`Cache-Control: no-store`).
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from bowerbird.errors import ScopeMissing
from bowerbird.gateway.api.admin_tenants import Name, TenantId, author_of
from bowerbird.gateway.api.arrival import gateway_of
from bowerbird.gateway.api.body import RequestBody, ResponseBody, read_json
from bowerbird.gateway.api.paging import limit_of, path_id, text_of
from bowerbird.gateway.identity.keys import AccessKey, Issued, NewKey
from bowerbird.gateway.identity.scopes import Role, Scope, effective_scopes

YEAR_SECONDS = 366 * 86_400
LONGEST_OVERLAP_SECONDS = 30 * 86_400
DEFAULT_OVERLAP_SECONDS = 86_400

NO_STORE = {"Cache-Control": "no-store"}
_LIFETIME = "Until it expires, from now; without it, when it is revoked."


class CreateKey(RequestBody):
    """A new key of a tenant."""

    tenant: TenantId
    name: Name = Field(default="key", description="For people, to tell keys apart.")
    role: Role = Field(
        default=Role.TENANT,
        description="tenant draws; reviewer looks at pictures; operator sees tenants, keys and the audit log; admin "
        "may do everything.",
    )
    scopes: list[Scope] | None = Field(
        default=None, min_length=1, description="Less than all that the role may; what it may not is not granted by it."
    )
    expires_in_seconds: int | None = Field(default=None, ge=60, le=10 * YEAR_SECONDS, description=_LIFETIME)


class RotateKey(RequestBody):
    """A key in place of another."""

    overlap_seconds: int = Field(
        default=DEFAULT_OVERLAP_SECONDS,
        ge=0,
        le=LONGEST_OVERLAP_SECONDS,
        description="How long the old key works beside the new one.",
    )
    expires_in_seconds: int | None = Field(default=None, ge=60, le=10 * YEAR_SECONDS, description=_LIFETIME)


class KeyBody(ResponseBody):
    """A key, without its text."""

    object: Literal["api_key"] = "api_key"
    id: str
    tenant: str
    name: str
    prefix: str = Field(description="How its text begins.")
    role: Role
    scopes: list[Scope] = Field(description="All that it may.")
    created_at: int = Field(description="Unix seconds.")
    expires_at: int | None = Field(description="Unix seconds; null: when it is revoked.")
    revoked_at: int | None = Field(description="Unix seconds.")
    last_used_at: int | None = Field(description="Unix seconds, within a minute; null: never.")
    replaced_by: str | None = Field(description="The key that it was rotated to.")


class IssuedKeyBody(KeyBody):
    """A new key, and its text, this once."""

    key: str = Field(description="Send it as `Authorization: Bearer <key>`. It is not kept and cannot be shown again.")


class KeyList(ResponseBody):
    """Keys by id."""

    object: Literal["list"] = "list"
    data: list[KeyBody]
    has_more: bool


async def create_key(request: Request) -> Response:
    """A new key; nobody gives more than they have."""
    administration = gateway_of(request).administration
    asked = await read_json(request, CreateKey)
    scopes = None if asked.scopes is None else frozenset(asked.scopes)
    require_own(request, asked.role, scopes)
    new = NewKey(asked.tenant, asked.name, asked.role, scopes, asked.expires_in_seconds)
    return _issued(await administration.keys.issue(new, author_of(request)))


async def list_keys(request: Request) -> Response:
    """A page of keys, of all tenants or of one."""
    limit, after, tenant = limit_of(request), text_of(request, "after") or "", text_of(request, "tenant")
    found = await gateway_of(request).administration.keys.page(tenant, after, limit + 1)
    body = KeyList(data=[key_body(each) for each in found[:limit]], has_more=len(found) > limit)
    return Response(body.model_dump_json(), media_type="application/json")


async def get_key(request: Request) -> Response:
    """One key."""
    key = await gateway_of(request).administration.keys.get(path_id(request, "key"))
    return Response(key_body(key).model_dump_json(), media_type="application/json")


async def rotate_key(request: Request) -> Response:
    """A key like another one, which goes on for a while."""
    administration = gateway_of(request).administration
    asked = await read_json(request, RotateKey)
    before = await administration.keys.get(path_id(request, "key"))
    require_own(request, before.role, before.scopes)
    issued = await administration.keys.rotate(
        before.id, asked.overlap_seconds, asked.expires_in_seconds, author_of(request)
    )
    administration.known.forget()
    return _issued(issued)


async def revoke_key(request: Request) -> Response:
    """A key that is refused from now on: here at once, at every gateway within seconds."""
    administration = gateway_of(request).administration
    key = await administration.keys.revoke(path_id(request, "key"), author_of(request))
    administration.known.forget()
    return Response(key_body(key).model_dump_json(), media_type="application/json")


def require_own(request: Request, role: Role, scopes: frozenset[Scope] | None) -> None:
    """Raises ScopeMissing for a key that could do what its giver cannot."""
    beyond = effective_scopes(role, scopes) - request.state.principal.scopes
    if beyond:
        raise ScopeMissing(
            f"Your key lacks scopes that this one would have: {', '.join(sorted(beyond))}.",
            param="scopes",
            details={"scopes": sorted(beyond)},
        )


def key_body(key: AccessKey) -> KeyBody:
    """A key as it is answered."""
    return KeyBody(**_facts(key))


def _issued(issued: Issued) -> Response:
    body = IssuedKeyBody(**_facts(issued.key), key=issued.text)
    return Response(body.model_dump_json(), 200, NO_STORE, "application/json")


def _facts(key: AccessKey) -> dict[str, object]:
    times = {
        "created_at": key.created_ms,
        "expires_at": key.expires_ms,
        "revoked_at": key.revoked_ms,
        "last_used_at": key.last_used_ms,
    }
    return {
        "id": key.id,
        "tenant": key.tenant,
        "name": key.name,
        "prefix": key.prefix,
        "role": key.role,
        "scopes": sorted(effective_scopes(key.role, key.scopes)),
        "replaced_by": key.replaced_by,
        **{name: None if ms is None else ms // 1000 for name, ms in times.items()},
    }
