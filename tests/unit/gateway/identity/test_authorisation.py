"""Who may do what: every operation of the route table, for every kind of credential. Nothing here names a route, so
that a new one is asked as all the others are, and none can be forgotten.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.routing import Route

from bowerbird.gateway.api.guard import Guard
from bowerbird.gateway.api.operation import Operation
from bowerbird.gateway.api.operations import OPERATIONS
from bowerbird.gateway.app import create_app
from bowerbird.gateway.identity.access_key import make_key
from bowerbird.gateway.identity.scopes import SCOPES_OF, Role, Scope
from bowerbird.settings import Settings

from ..conftest import GatewayIn, draw
from ..stand_ins import StandIns
from .gateways import ADMIN, Administrator, bearer, expire

UNAVAILABLE = 503

OPEN = {"/livez", "/readyz", "/metrics"}
DOCUMENTS = {"/openapi.json", "/docs"}
GUARDED = [each for each in OPERATIONS if each.scope is not None]

PUBLIC_NAMES = {"model", "species"}
"""Names in paths that are the same for every tenant; what else is in a path is somebody's, or `/v1/admin`'s."""


@dataclass
class Keys:
    """One credential of each kind, at one gateway."""

    client: httpx2.Client
    refused: dict[str, tuple[str | None, int, str]]
    """What it is -> key, status, code."""
    roles: dict[Role, str]
    scopes: dict[Scope, str]
    other_tenant: str


@pytest.fixture(scope="module")
def keys(_module_gateway: tuple[httpx2.Client, Path]) -> Keys:
    client, home = _module_gateway
    admin = Administrator(client)
    for tenant in ("birds", "cats", "gone"):
        admin.tenant(tenant)
    expired, revoked, disabled = admin.key(name="expired"), admin.key(name="revoked"), admin.key("gone")
    expire(home, admin.id_of(expired))
    admin.done("DELETE", f"/keys/{admin.id_of(revoked)}")
    admin.done("PATCH", "/tenants/gone", disabled=True)
    return Keys(
        client=client,
        refused={
            "none": (None, 401, "invalid_api_key"),
            "wrong": (make_key().text, 401, "invalid_api_key"),
            "mistyped": (admin.key()[:-1] + "_", 401, "invalid_api_key"),
            "foreign": ("sk-proj-0123456789", 401, "invalid_api_key"),
            "expired": (expired, 401, "expired_api_key"),
            "revoked": (revoked, 401, "revoked_api_key"),
            "disabled tenant": (disabled, 403, "tenant_disabled"),
        },
        roles={role: admin.key(role=role) for role in Role},
        scopes={scope: admin.key(role="admin", scopes=[scope]) for scope in Scope},
        other_tenant=admin.key("cats"),
    )


@pytest.fixture(scope="module")
def _module_gateway(
    _stand_ins: tuple[StandIns, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[httpx2.Client, Path]]:
    from ..conftest import opened, settings_for, until_ready
    from ..stand_ins import served

    home = tmp_path_factory.mktemp("home")
    settings = settings_for(_stand_ins[1], home, admin_keys=frozenset({ADMIN}), api_keys=frozenset({"settings"}))
    with served(create_app(settings)) as url, opened(url) as client:
        until_ready(client, "safety", "text-to-image", "curation")
        yield client, home


def asked(
    client: httpx2.Client, operation: Operation, key: str | None, body: Mapping[str, Any] | None = None, **names: str
) -> httpx2.Response:
    """The operation; without a body, with one that nothing is made of, and a path that names nothing there is."""
    path = re.sub(r"{(\w+)(:path)?}", lambda name: names.get(name[1], "nothing-there"), operation.path)
    headers = bearer(key) | ({} if operation.body is None else {"Content-Type": "application/json"})
    content = None if operation.body is None else b"?" if body is None else json.dumps(body).encode()
    return client.request(operation.method, path, headers=headers, content=content)


def refusal(answer: httpx2.Response) -> str | None:
    """Why the door stayed shut; None where what is answered came from behind it."""
    code = answer.json()["error"]["code"] if answer.status_code in (401, 403) else None
    return code if answer.status_code == 401 or code in ("missing_scope", "tenant_disabled") else None


def named(operation: Operation) -> str:
    return f"{operation.method} {operation.path}"


def test_every_route_is_in_the_table_and_behind_a_door_unless_it_says_that_it_is_open() -> None:
    routes = [route for route in create_app(Settings()).routes if isinstance(route, Route)]
    assert {route.path for route in routes} == {each.path for each in OPERATIONS} | DOCUMENTS
    assert {each.path for each in OPERATIONS if each.scope is None} == OPEN
    unguarded = {route.path for route in routes if not isinstance(route.app, Guard)}
    assert unguarded == OPEN | DOCUMENTS


def test_every_operation_says_what_it_needs() -> None:
    assert not [named(each) for each in OPERATIONS if each.scope is Scope.ADMINISTRATION]


def test_administration_is_for_those_who_administer() -> None:
    mine = SCOPES_OF[Role.TENANT] | SCOPES_OF[Role.REVIEWER]
    assert not [named(each) for each in GUARDED if each.path.startswith("/v1/admin") and each.scope in mine]
    for operation in GUARDED:
        if operation.path.startswith("/v1/admin") and operation.method != "GET":
            assert operation.scope not in SCOPES_OF[Role.OPERATOR], named(operation)


@pytest.mark.parametrize("operation", GUARDED, ids=named)
def test_no_operation_is_reached_without_a_key_that_holds(keys: Keys, operation: Operation) -> None:
    for what, (key, status, code) in keys.refused.items():
        answer = asked(keys.client, operation, key)
        assert (answer.status_code, refusal(answer)) == (status, code), what
        assert ("www-authenticate" in answer.headers) == (status == 401)


@pytest.mark.parametrize("operation", GUARDED, ids=named)
def test_an_operation_is_reached_by_whoever_has_its_scope_and_by_nobody_else(keys: Keys, operation: Operation) -> None:
    holders = {f"role {role}": (key, SCOPES_OF[role]) for role, key in keys.roles.items()}
    holders |= {f"scope {scope}": (key, frozenset({scope})) for scope, key in keys.scopes.items()}
    holders["settings"] = ("settings", SCOPES_OF[Role.TENANT])
    holders["administrator of the settings"] = (ADMIN, SCOPES_OF[Role.ADMIN])
    for who, (key, scopes) in holders.items():
        answer = asked(keys.client, operation, key)
        expected = None if operation.scope in scopes else "missing_scope"
        assert refusal(answer) == expected, (who, answer.text)
        if expected:
            assert answer.json()["error"]["scope"] == operation.scope


@pytest.mark.parametrize("operation", [each for each in OPERATIONS if each.scope is None], ids=named)
def test_what_is_open_asks_nobody(keys: Keys, operation: Operation) -> None:
    for key in (None, "anything", make_key().text):
        assert asked(keys.client, operation, key).status_code == 200


def owned(operation: Operation) -> set[str]:
    """Names in the path of what belongs to a tenant."""
    return set(re.findall(r"{(\w+)", operation.path)) - PUBLIC_NAMES


@pytest.mark.parametrize(
    "operation", [each for each in GUARDED if owned(each) and not each.path.startswith("/v1/admin")], ids=named
)
def test_what_belongs_to_another_tenant_is_not_there(keys: Keys, operation: Operation) -> None:
    makers = {"job": job_of, "file_id": file_of, "batch_id": batch_of}
    own = keys.roles[Role.TENANT]
    mine = {name: makers.get(name, made_by_its_list)(keys.client, own, operation) for name in owned(operation)}
    theirs = asked(keys.client, operation, keys.other_tenant, body=operation.example, **mine)
    nothing = asked(keys.client, operation, keys.other_tenant, body=operation.example)
    assert theirs.status_code == nothing.status_code == 404
    assert theirs.json()["error"]["code"] == nothing.json()["error"]["code"]
    assert asked(keys.client, operation, own, body=operation.example, **mine).status_code != 404


def job_of(client: httpx2.Client, key: str, _: Operation) -> str:
    """A job of this key's tenant; on a busy machine a look at the stages may come too late, the next will do."""
    while (answer := draw(client, {"Prefer": "respond-async", **bearer(key)})).status_code == UNAVAILABLE:
        time.sleep(0.05)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def file_of(client: httpx2.Client, key: str, _: Operation) -> str:
    """A file of this key's tenant: an upload is a form, which the document's example cannot be sent as."""
    form: dict[str, Any] = {"data": {"purpose": "batch"}, "files": {"file": ("lines.jsonl", b"{}")}}
    answer = client.post("/v1/files", headers=bearer(key), **form)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


def batch_of(client: httpx2.Client, key: str, operation: Operation) -> str:
    """A batch of this key's tenant."""
    body = {"input_file_id": file_of(client, key, operation), "endpoint": "/v1/moderations", "completion_window": "24h"}
    answer = client.post("/v1/batches", headers=bearer(key), json=body)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


def made_by_its_list(client: httpx2.Client, key: str, operation: Operation) -> str:
    """What the operation is about, made as the document's example makes it: by a POST to the list that it is in."""
    path = operation.path.partition("/{")[0]
    [maker] = [each for each in OPERATIONS if (each.method, each.path) == ("POST", path)]
    answer = asked(client, maker, key, body=maker.example)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


def test_on_loopback_without_credentials_everybody_is_at_home(gateway_in: GatewayIn, tmp_path: Path) -> None:
    with gateway_in(tmp_path) as client:
        for operation in GUARDED:
            for key in (None, "anything", "sk-proj-0123456789"):
                assert refusal(asked(client, operation, key)) is None, named(operation)
        assert refusal(asked(client, GUARDED[0], make_key().text)) == "invalid_api_key"


@pytest.mark.parametrize("operation", GUARDED, ids=named)
def test_on_loopback_a_page_that_has_a_browser_ask_by_another_name_does_not_administer(
    gateway: httpx2.Client, operation: Operation
) -> None:
    path = re.sub(r"{\w+(:path)?}", "nothing-there", operation.path)
    for host, here in (
        ("localhost:8000", True),
        ("[::1]:8000", True),
        ("127.0.0.1", True),
        ("evil.example:8000", False),
    ):
        answer = gateway.request(operation.method, path, headers={"Host": host})
        refused = not here and operation.scope not in SCOPES_OF[Role.TENANT]
        assert refusal(answer) == ("missing_scope" if refused else None), (host, answer.text)
