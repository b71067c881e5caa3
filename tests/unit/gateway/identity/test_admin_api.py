"""`/v1/admin`: a team gets a tenant and a key, loses it, and everything that was done stands in the log."""

from __future__ import annotations

import time
from pathlib import Path

import httpx2
import pytest

from bowerbird.gateway.identity.access_key import is_key
from bowerbird.gateway.identity.scopes import SCOPES_OF, Role
from bowerbird.settings import ServiceAccount

from ..conftest import GatewayIn, StartGateway, draw
from .api_server import running_api_server
from .gateways import ADMIN, Administrator, bearer, expire


@pytest.fixture
def admin(start_gateway: StartGateway) -> Administrator:
    return Administrator(start_gateway(admin_keys=frozenset({ADMIN})))


def models(client: httpx2.Client, key: str | None) -> int:
    return client.get("/v1/models", headers=bearer(key)).status_code


def test_a_team_gets_a_key_that_is_shown_once_and_draws(admin: Administrator) -> None:
    made = admin.done("POST", "/tenants", id="birds", name="Bird application", tier="standard")
    assert (made["id"], made["name"], made["tier"], made["disabled_at"]) == (
        "birds",
        "Bird application",
        "standard",
        None,
    )
    issued = admin.done("POST", "/keys", tenant="birds", name="web", expires_in_seconds=3600)
    assert is_key(issued["key"])
    assert issued["key"].startswith(issued["prefix"])
    assert issued["expires_at"] - issued["created_at"] == 3600
    assert set(issued["scopes"]) == SCOPES_OF[Role.TENANT]
    answer = draw(admin.client, bearer(issued["key"]))
    assert answer.status_code == 200
    for path in ("/keys", f"/keys/{issued['id']}", "/audit"):
        assert issued["key"] not in admin.ask("GET", path).text
    again = admin.done("GET", f"/keys/{issued['id']}")
    assert again == {name: value for name, value in issued.items() if name != "key"}


def test_the_answer_with_a_key_is_not_to_be_stored(admin: Administrator) -> None:
    admin.tenant()
    answer = admin.ask("POST", "/keys", tenant="birds")
    assert answer.headers["cache-control"] == "no-store"


def test_a_key_is_rotated_without_a_moment_in_which_none_works(admin: Administrator) -> None:
    admin.tenant()
    old = admin.done("POST", "/keys", tenant="birds", name="web")
    new = admin.done("POST", f"/keys/{old['id']}/rotate", overlap_seconds=3600)
    assert [models(admin.client, each["key"]) for each in (old, new)] == [200, 200]
    ending = admin.done("GET", f"/keys/{old['id']}")
    assert ending["replaced_by"] == new["id"]
    assert 3590 < ending["expires_at"] - time.time() < 3610
    assert admin.ask("POST", f"/keys/{old['id']}/rotate").status_code == 409
    at_once = admin.done("POST", f"/keys/{new['id']}/rotate", overlap_seconds=0)
    assert [models(admin.client, each["key"]) for each in (new, at_once)] == [401, 200]


def test_a_revoked_key_and_a_disabled_tenants_key_are_refused_at_once_here(admin: Administrator) -> None:
    admin.tenant()
    one, two = admin.key(), admin.key()
    assert [models(admin.client, key) for key in (one, two)] == [200, 200]
    assert admin.done("DELETE", f"/keys/{admin.id_of(one)}")["revoked_at"] is not None
    assert [models(admin.client, key) for key in (one, two)] == [401, 200]
    admin.done("PATCH", "/tenants/birds", disabled=True)
    assert models(admin.client, two) == 403
    admin.done("PATCH", "/tenants/birds", disabled=False)
    assert models(admin.client, two) == 200


def test_nobody_gives_more_than_they_have(admin: Administrator) -> None:
    admin.tenant()
    clerk = Administrator(admin.client, admin.key(role="admin", scopes=["keys:write", "keys:read", "models:read"]))
    for terms in ({"role": "tenant"}, {"role": "admin"}, {"role": "operator", "scopes": ["audit:read"]}):
        answer = clerk.ask("POST", "/keys", tenant="birds", **terms)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "missing_scope")
    key = clerk.key(role="tenant", scopes=["models:read"])
    assert models(admin.client, key) == 200
    stronger = admin.key(role="admin", name="stronger")
    assert clerk.ask("POST", f"/keys/{admin.id_of(stronger)}/rotate", overlap_seconds=0).status_code == 403


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"id": "Birds"}, "id"),
        ({"id": "-birds"}, "id"),
        ({"id": "b" * 64}, "id"),
        ({"id": "key-0123456789ab"}, "id"),
        ({"id": "local"}, "id"),
        ({}, "id"),
        ({"id": "birds", "name": "line\nbreak"}, "name"),
        ({"id": "birds", "name": ""}, "name"),
        ({"id": "birds", "tier": "golden"}, "tier"),
        ({"id": "birds", "weight": 0}, "weight"),
        ({"id": "birds", "weight": "1"}, "weight"),
        ({"id": "birds", "cache": "always"}, "cache"),
        ({"id": "birds", "limits": {}}, "limits"),
    ],
)
def test_terms_that_cannot_be_are_refused_by_name(admin: Administrator, body: dict[str, object], param: str) -> None:
    answer = admin.ask("POST", "/tenants", **body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"tenant": "birds", "role": "king"}, "role"),
        ({"tenant": "birds", "scopes": ["everything"]}, "scopes"),
        ({"tenant": "birds", "scopes": []}, "scopes"),
        ({"tenant": "birds", "expires_in_seconds": 59}, "expires_in_seconds"),
        ({"tenant": "birds", "key": "bb_mine"}, "key"),
        ({"name": "web"}, "tenant"),
    ],
)
def test_keys_that_cannot_be_are_refused_by_name(admin: Administrator, body: dict[str, object], param: str) -> None:
    answer = admin.ask("POST", "/keys", **body)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"].split(".")[0] == param


@pytest.mark.parametrize("name", ["nothing", "%00", "x" * 300, "..%2Fkeys", "%C3%A9"])
def test_what_is_not_there_is_404_whatever_it_is_called(admin: Administrator, name: str) -> None:
    assert admin.ask("GET", f"/tenants/{name}").status_code == 404
    assert admin.ask("PATCH", f"/tenants/{name}", tier="free").status_code == 404
    assert admin.ask("GET", f"/keys/{name}").status_code == 404
    assert admin.ask("DELETE", f"/keys/{name}").status_code == 404
    assert admin.ask("POST", f"/keys/{name}/rotate").status_code == 404


def test_lists_come_in_pages(admin: Administrator) -> None:
    for number in range(5):
        admin.tenant(f"t{number}")
        admin.key(f"t{number}")
    first = admin.done("GET", "/tenants", limit=3)
    rest = admin.done("GET", "/tenants", limit=3, after=first["data"][-1]["id"])
    assert [each["id"] for each in first["data"] + rest["data"]] == [f"t{number}" for number in range(5)]
    assert (first["has_more"], rest["has_more"]) == (True, False)
    assert [each["tenant"] for each in admin.done("GET", "/keys", tenant="t3")["data"]] == ["t3"]
    for query in ({"limit": "0"}, {"limit": "101"}, {"limit": "x"}, {"after": "\x00"}, {"after": ""}):
        assert admin.ask("GET", "/tenants", **query).status_code == 400
    assert admin.ask("GET", "/audit", after="-1").status_code == 400


def test_every_change_stands_in_the_log_with_its_author_and_request(admin: Administrator) -> None:
    admin.tenant()
    second = Administrator(admin.client, admin.key(role="admin"))
    answer = second.ask("PATCH", "/tenants/birds", tier="premium")
    entries = admin.done("GET", "/audit")["data"]
    assert [each["action"] for each in entries] == ["tenant.create", "key.issue", "tenant.change"]
    changed = entries[-1]
    assert changed["actor"] == f"key:{entries[1]['subject']}"
    assert changed["request_id"] == answer.headers["x-request-id"]
    assert (changed["before"]["tier"], changed["after"]["tier"]) == ("unlimited", "premium")
    assert entries[0]["actor"].startswith("key-")
    assert changed["previous_hash"] == entries[1]["hash"]


def test_an_administrator_sees_a_tenants_usage_and_the_tenant_its_own(admin: Administrator) -> None:
    admin.tenant()
    key = admin.key()
    assert draw(admin.client, bearer(key)).status_code == 200
    for _ in range(3000):
        own = admin.client.get("/v1/usage", headers=bearer(key)).json()
        if own["data"]:
            break
        time.sleep(0.02)
    assert own["data"][0]["pictures"] == 1
    assert admin.done("GET", "/tenants/birds/usage") == own
    assert admin.done("GET", "/tenants/nobody/usage")["data"] == []


def test_tiers_are_told(admin: Administrator) -> None:
    tiers = {each["name"]: each for each in admin.done("GET", "/tiers")["data"]}
    assert {"free", "standard", "premium", "unlimited"} <= set(tiers)
    assert tiers["free"]["requests_per_minute"] < tiers["standard"]["requests_per_minute"]
    assert tiers["unlimited"]["requests_per_day"] is None


def test_keys_outlive_the_gateway_and_so_do_their_ends(gateway_in: GatewayIn, tmp_path: Path) -> None:
    closed = {"admin_keys": frozenset({ADMIN})}
    with gateway_in(tmp_path, **closed) as client:
        admin = Administrator(client)
        admin.tenant()
        one, two = admin.key(), admin.key()
        assert models(client, one) == 200
        expire(tmp_path, admin.id_of(two))
        one_id = admin.id_of(one)
    with gateway_in(tmp_path, **closed) as client:
        assert [models(client, key) for key in (one, two)] == [200, 401]
        assert Administrator(client).done("GET", f"/keys/{one_id}")["last_used_at"] is not None


def test_a_tenants_limits_are_told_and_kept(admin: Administrator) -> None:
    admin.tenant(tier="free")
    key = bearer(admin.key())
    first = admin.client.get("/v1/models", headers=key)
    assert '"requests-per-minute";q=20;w=60' in first.headers["ratelimit-policy"]
    assert '"requests-per-minute";r=19;' in first.headers["ratelimit"]
    answers = [admin.client.get("/v1/models", headers=key) for _ in range(25)]
    refused = [each for each in answers if each.status_code == 429]
    assert refused
    assert answers.count(refused[0]) == 1
    error = refused[0].json()["error"]
    assert (error["type"], error["code"]) == ("rate_limit_error", "rate_limit_exceeded")
    assert error["limit"] in ("requests-per-second", "requests-per-minute")
    assert 1 <= int(refused[0].headers["retry-after"]) <= 60
    for each in refused:
        assert each.headers.get_list("ratelimit-policy"), "a refusal tells the limits, too"
        assert f'"{error["limit"]}";' in ", ".join(each.headers.get_list("ratelimit-policy"))


def test_a_picture_beyond_the_tier_is_refused_before_anything_is_computed(
    start_gateway: StartGateway, tmp_path: Path
) -> None:
    tiers = tmp_path / "tiers.toml"
    tiers.write_text("[tiny]\npicture_pixels = 64\n[slow]\ncompute_units_per_minute = 1\n")
    admin = Administrator(start_gateway(admin_keys=frozenset({ADMIN}), tiers=tiers))
    for tier in ("tiny", "slow"):
        admin.tenant(tier, tier=tier)
        for headers in ({}, {"Prefer": "respond-async"}):
            answer = draw(admin.client, {**bearer(admin.key(tier)), **headers})
            assert (answer.status_code, answer.json()["error"]["code"]) == (403, "tier_exceeded")


def test_compute_units_of_a_minute_are_charged_by_what_is_drawn(start_gateway: StartGateway, tmp_path: Path) -> None:
    tiers = tmp_path / "tiers.toml"
    tiers.write_text("[few]\ncompute_units_per_minute = 130\nqueue_part = 0.125\n")
    admin = Administrator(start_gateway(admin_keys=frozenset({ADMIN}), tiers=tiers, queue_requests=80))
    admin.tenant("few", tier="few")
    key = bearer(admin.key("few"))
    # 25 steps of two rows are 50 units and a little: two fit into a minute's 130, and a third one does not.
    answers = [draw(admin.client, key, steps=25, guidance_scale=3.0) for _ in range(4)]
    refused = [each for each in answers if each.status_code == 429]
    assert 1 <= len(refused) <= 2
    assert '"requests";q=10;qu="concurrent-requests"' in answers[0].headers["ratelimit-policy"]  # its share
    assert refused[0].json()["error"]["limit"] == "compute-units-per-minute"
    assert admin.client.get("/v1/models", headers=key).status_code == 200


def test_a_pods_token_is_a_key(start_gateway: StartGateway, tmp_path: Path) -> None:
    with running_api_server(tmp_path) as cluster:
        gateway = start_gateway(
            admin_keys=frozenset({ADMIN}),
            service_accounts={"birds:painter": ServiceAccount(tenant="birds")},
            kubernetes_url=cluster.url,
            kubernetes_ca=tmp_path / "ca.crt",
            kubernetes_token=tmp_path / "token",
        )
        token = cluster.vouch("birds:painter")
        assert models(gateway, token) == 403, "the tenant is not there yet"
        Administrator(gateway).tenant()
        assert models(gateway, token) == 200
        assert models(gateway, cluster.vouch("birds:other")) == 401
