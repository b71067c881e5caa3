"""A gateway that is administered: its client, tenants and keys, made over the API as administrators make them."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import httpx2

from bowerbird.gateway.records.database import FILE_NAME

ADMIN = "the-first-administrators-key"


def bearer(key: str | None) -> dict[str, str]:
    return {} if key is None else {"Authorization": f"Bearer {key}"}


class Administrator:
    """Somebody with an administrator's key."""

    def __init__(self, client: httpx2.Client, key: str | None = ADMIN) -> None:
        self.client = client
        self.headers = bearer(key)

    def ask(self, method: str, path: str, **body: Any) -> httpx2.Response:
        """One request to `/v1/admin`."""
        url = f"/v1/admin{path}"
        if method in ("POST", "PATCH"):
            return self.client.request(method, url, headers=self.headers, json=body)
        return self.client.request(method, url, headers=self.headers, params=body)

    def done(self, method: str, path: str, **body: Any) -> dict[str, Any]:
        """The same, when it must succeed."""
        answer = self.ask(method, path, **body)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def tenant(self, tenant_id: str = "birds", tier: str = "unlimited", **terms: Any) -> str:
        """A tenant's id."""
        return str(self.done("POST", "/tenants", id=tenant_id, tier=tier, **terms)["id"])

    def key(self, tenant: str = "birds", **terms: Any) -> str:
        """A key's text."""
        return str(self.done("POST", "/keys", tenant=tenant, **terms)["key"])

    def id_of(self, key: str) -> str:
        """Which key begins so."""
        [found] = [
            each["id"] for each in self.done("GET", "/keys", limit=100)["data"] if key.startswith(each["prefix"])
        ]
        return str(found)


def expire(home: Path, key_id: str) -> None:
    """Has a key expired long ago; the API takes no lifetime below a minute."""
    with sqlite3.connect(home / FILE_NAME) as rows:
        rows.execute("UPDATE access_keys SET expires_ms = 1 WHERE id = ?", (key_id,))
    rows.close()
