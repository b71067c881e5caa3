"""Two gateways on one PostgreSQL: what one of them is told holds at the other."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable

import httpx2
import pytest

from bowerbird.gateway.identity.remembered import BELIEVED_SECONDS
from tests.postgresql import RunningPostgreSQL

from ..conftest import StartGateway
from .gateways import ADMIN, Administrator, bearer

Gateways = list[httpx2.Client]


@pytest.fixture
def gateways(start_gateway: StartGateway, postgresql: RunningPostgreSQL, newest_template: str) -> Gateways:
    """Both, on a database of their own."""
    url = postgresql.create(f"t{secrets.token_hex(6)}", newest_template)
    return [start_gateway(database_url=url, admin_keys=frozenset({ADMIN})) for _ in range(2)]


def models(gateway: httpx2.Client, key: str) -> httpx2.Response:
    return gateway.get("/v1/models", headers=bearer(key))


def test_keys_terms_and_limits_are_one_for_both(gateways: Gateways) -> None:
    here, there = gateways
    admin = Administrator(here)
    admin.tenant(tier="free")
    key = admin.key()
    began = time.time()
    statuses = [models(gateways[turn % 2], key).status_code for turn in range(60)]
    windows = int(time.time() // 60) - int(began // 60) + 1
    assert statuses.count(429) == 60 - statuses.count(200)
    assert statuses.count(200) <= 20 * windows, "twenty a minute, whichever gateway is asked"
    admin.done("PATCH", "/tenants/birds", tier="unlimited")
    until(lambda: "ratelimit-policy" not in models(there, key).headers)
    assert models(there, key).status_code == 200
    admin.done("DELETE", f"/keys/{admin.id_of(key)}")
    until(lambda: models(there, key).status_code == 401)
    entries = Administrator(there).done("GET", "/audit")["data"]
    assert [each["action"] for each in entries] == ["tenant.create", "key.issue", "tenant.change", "key.revoke"]


def until(holds: Callable[[], bool]) -> None:
    """Waits for as long as a key may be believed, and for a slow machine (`test_keys` is about the stated time)."""
    end = time.monotonic() + BELIEVED_SECONDS + 60
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.1)
