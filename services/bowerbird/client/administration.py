"""The calls of administrators: tenants, keys, usage and the audit log, as the API answers them.

They go over the same HTTP as everything else, so that roles, limits and the audit log hold for them too, and nobody who
administers needs to reach the database. `Client.send` sends one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

from bowerbird.client.calls import Call, Received
from bowerbird.errors import StageBroken

Answer = dict[str, Any]

TENANTS = "/v1/admin/tenants"
KEYS = "/v1/admin/keys"
AUDIT = "/v1/admin/audit"
PAGE = 100


def create_tenant(tenant_id: str, terms: Mapping[str, Any]) -> Call[Answer]:
    """`POST /v1/admin/tenants`; `terms` are its other fields."""
    return Call("POST", TENANTS, _object, json={"id": tenant_id, **terms})


def change_tenant(tenant_id: str, changes: Mapping[str, Any]) -> Call[Answer]:
    """`PATCH /v1/admin/tenants/{tenant}`."""
    return Call("PATCH", f"{TENANTS}/{quote(tenant_id, safe='')}", _object, json=dict(changes))


def tenant(tenant_id: str) -> Call[Answer]:
    """`GET /v1/admin/tenants/{tenant}`."""
    return Call("GET", f"{TENANTS}/{quote(tenant_id, safe='')}", _object)


def tenants(after: str | None) -> Call[Answer]:
    """One page of `GET /v1/admin/tenants`."""
    return Call("GET", _page(TENANTS, {"after": after}), _object)


def create_key(tenant_id: str, terms: Mapping[str, Any]) -> Call[Answer]:
    """`POST /v1/admin/keys`; the answer has the key's text, this once."""
    return Call("POST", KEYS, _object, json={"tenant": tenant_id, **terms})


def rotate_key(key_id: str, terms: Mapping[str, Any]) -> Call[Answer]:
    """`POST /v1/admin/keys/{key}/rotate`; the answer has the new key's text, this once."""
    return Call("POST", f"{KEYS}/{quote(key_id, safe='')}/rotate", _object, json=dict(terms))


def revoke_key(key_id: str) -> Call[Answer]:
    """`DELETE /v1/admin/keys/{key}`."""
    return Call("DELETE", f"{KEYS}/{quote(key_id, safe='')}", _object)


def keys(tenant_id: str | None, after: str | None) -> Call[Answer]:
    """One page of `GET /v1/admin/keys`."""
    return Call("GET", _page(KEYS, {"tenant": tenant_id, "after": after}), _object)


def usage(tenant_id: str | None, days: Mapping[str, str | None]) -> Call[Answer]:
    """The usage of a tenant, or of the caller's own; `days` are first_day and last_day, YYYY-MM-DD."""
    path = "/v1/usage" if tenant_id is None else f"{TENANTS}/{quote(tenant_id, safe='')}/usage"
    return Call("GET", _query(path, days), _object)


def audit(after: int) -> Call[Answer]:
    """One page of `GET /v1/admin/audit`."""
    return Call("GET", _page(AUDIT, {"after": str(after)}), _object)


def _page(path: str, query: Mapping[str, str | None]) -> str:
    return _query(path, {"limit": str(PAGE), **query})


def _query(path: str, query: Mapping[str, str | None]) -> str:
    stated = {name: value for name, value in query.items() if value is not None}
    return f"{path}?{urlencode(stated)}" if stated else path


def _object(received: Received) -> Answer:
    try:
        body = json.loads(received.body)
    except ValueError as error:
        raise StageBroken("The answer is not JSON.") from error
    if not isinstance(body, dict):
        raise StageBroken("The answer is not a JSON object.")
    return body
