"""The calls of administrators: tenants, keys, usage, demand and the audit log, as the API answers them.

They go over the same HTTP as everything else, so that roles, limits and the audit log hold for them too, and nobody who
administers needs to reach the database. `Client.send` sends one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from bowerbird.client.calls import Call, get, object_of, with_query

Answer = dict[str, Any]

TENANTS = "/v1/admin/tenants"
KEYS = "/v1/admin/keys"
AUDIT = "/v1/admin/audit"
DEMAND = "/v1/admin/demand"
PAGE = 100


def create_tenant(tenant_id: str, terms: Mapping[str, Any]) -> Call[Answer]:
    """`POST /v1/admin/tenants`; `terms` are its other fields."""
    return Call("POST", TENANTS, object_of, json={"id": tenant_id, **terms})


def change_tenant(tenant_id: str, changes: Mapping[str, Any]) -> Call[Answer]:
    """`PATCH /v1/admin/tenants/{tenant}`."""
    return Call("PATCH", f"{TENANTS}/{quote(tenant_id, safe='')}", object_of, json=dict(changes))


def tenant(tenant_id: str) -> Call[Answer]:
    """`GET /v1/admin/tenants/{tenant}`."""
    return get(f"{TENANTS}/{quote(tenant_id, safe='')}", object_of)


def tenants(after: str | None) -> Call[Answer]:
    """One page of `GET /v1/admin/tenants`."""
    return get(_page(TENANTS, {"after": after}), object_of)


def create_key(tenant_id: str, terms: Mapping[str, Any]) -> Call[Answer]:
    """`POST /v1/admin/keys`; the answer has the key's text, this once."""
    return Call("POST", KEYS, object_of, json={"tenant": tenant_id, **terms})


def rotate_key(key_id: str, terms: Mapping[str, Any]) -> Call[Answer]:
    """`POST /v1/admin/keys/{key}/rotate`; the answer has the new key's text, this once."""
    return Call("POST", f"{KEYS}/{quote(key_id, safe='')}/rotate", object_of, json=dict(terms))


def revoke_key(key_id: str) -> Call[Answer]:
    """`DELETE /v1/admin/keys/{key}`."""
    return Call("DELETE", f"{KEYS}/{quote(key_id, safe='')}", object_of)


def keys(tenant_id: str | None, after: str | None) -> Call[Answer]:
    """One page of `GET /v1/admin/keys`."""
    return get(_page(KEYS, {"tenant": tenant_id, "after": after}), object_of)


def usage(tenant_id: str | None, days: Mapping[str, str | None]) -> Call[Answer]:
    """The usage of a tenant, or of the caller's own; `days` are first_day and last_day, YYYY-MM-DD."""
    return get(with_query(_usage_of(tenant_id), days), object_of)


def usage_table(tenant_id: str | None, days: Mapping[str, str | None]) -> Call[bytes]:
    """The same as the gateway's CSV (RFC 4180)."""
    return get(with_query(_usage_of(tenant_id), {**days, "format": "csv"}), lambda received: received.body)


def audit(after: int) -> Call[Answer]:
    """One page of `GET /v1/admin/audit`."""
    return get(_page(AUDIT, {"after": str(after)}), object_of)


def _usage_of(tenant_id: str | None) -> str:
    return "/v1/usage" if tenant_id is None else f"{TENANTS}/{quote(tenant_id, safe='')}/usage"


def demand() -> Call[Answer]:
    """`GET /v1/admin/demand`."""
    return get(DEMAND, object_of)


def prewarm(service: str, pods: int, seconds: int) -> Call[Answer]:
    """`POST /v1/admin/demand`; to ask again changes nothing but the time."""
    return Call("POST", DEMAND, object_of, json={"service": service, "pods": pods, "seconds": seconds})


def _page(path: str, query: Mapping[str, str | None]) -> str:
    return with_query(path, {"limit": str(PAGE), **query})
