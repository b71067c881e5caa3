"""`bowerbird tenants`, `keys`, `demand`, `usage` and `audit`, typed against a real gateway."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from typer.testing import CliRunner, Result

from bowerbird.cli import app
from bowerbird.client import Client, administration
from bowerbird.gateway.api.usage import COLUMNS
from bowerbird.gateway.app import create_app
from bowerbird.gateway.identity.access_key import is_key
from bowerbird.settings import Settings

from ..gateway.stand_ins import served

ADMIN = "the-first-administrators-key"

Type = Callable[..., Result]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A gateway whose stages nobody started: administration needs none."""
    settings = Settings(home=tmp_path_factory.mktemp("home"), admin_keys=frozenset({ADMIN}), scaler_port=0)
    with served(create_app(settings)) as address:
        yield address


@pytest.fixture
def typed(url: str, monkeypatch: pytest.MonkeyPatch) -> Type:
    """Types a command of an administrator."""
    monkeypatch.setenv("BOWERBIRD_URL", url)
    monkeypatch.setenv("BOWERBIRD_KEY", ADMIN)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str, **environment: str) -> Result:
        return CliRunner().invoke(app, list(arguments), env=environment)

    return run


def rows(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_a_team_gets_a_key_and_loses_it(typed: Type) -> None:
    [made] = rows(typed("tenants", "create", "birds", "--tier", "standard", "--name", "Bird application", "--json"))
    assert (made["id"], made["tier"], made["weight"]) == ("birds", "standard", 1.0)
    shown = typed("keys", "create", "birds", "--name", "web", "--expires", "90d")
    assert is_key(shown.stdout.strip()), "the key alone, so that a script may keep it"
    [key] = [each for each in rows(typed("keys", "list", "--tenant", "birds", "--json")) if each["name"] == "web"]
    assert key["expires_at"] - key["created_at"] == 90 * 86_400
    assert shown.stdout.startswith(key["prefix"])
    assert key["id"] in shown.stderr
    rotated = rows(typed("keys", "rotate", key["id"], "--overlap", "12h", "--json"))
    assert is_key(rotated["key"])
    assert rows(typed("keys", "revoke", rotated["id"], "--json"))[0]["revoked_at"] is not None
    assert rows(typed("tenants", "change", "birds", "--tier", "premium", "--json"))[0]["tier"] == "premium"
    assert rows(typed("tenants", "disable", "birds", "--json"))[0]["disabled_at"] is not None
    assert rows(typed("tenants", "enable", "birds", "--json"))[0]["disabled_at"] is None


def test_lists_are_tables_for_people(typed: Type) -> None:
    typed("tenants", "create", "owls")
    for command in (("tenants", "list"), ("keys", "list"), ("audit",), ("usage",)):
        result = typed(*command)
        assert result.exit_code == 0, result.output
    assert "owls" in typed("tenants", "list").stdout
    assert "tenant.create" in typed("audit").stdout


def test_pods_are_asked_for_and_taken_back(typed: Type) -> None:
    [made] = rows(typed("demand", "prewarm", "text-to-image", "--pods", "2", "--for", "30m", "--json"))
    assert (made["service"], made["source"], made["pods"]) == ("text-to-image", "prewarm", 2)
    assert "prewarm" in typed("demand", "list").stdout
    assert typed("demand", "prewarm", "text-to-image", "--pods", "0").exit_code == 0
    assert rows(typed("demand", "list", "--json")) == []


def test_the_log_is_checked_over_all_its_pages(typed: Type, url: str) -> None:
    with Client(url, ADMIN) as client:
        client.send(administration.create_tenant("finches", {}))
        for number in range(administration.PAGE):
            client.send(administration.change_tenant("finches", {"name": f"Finches {number}"}))
    checked = typed("audit", "--verify")
    assert checked.exit_code == 0, checked.output
    assert int(checked.stdout.split()[0]) > administration.PAGE
    assert "unbroken" in checked.stdout


def test_usage_as_csv_is_the_apis_to_the_byte(typed: Type, url: str) -> None:
    typed("tenants", "create", "jays")
    printed = typed("usage", "--tenant", "jays", "--first-day", "2026-11-01", "--last-day", "2026-11-21", "--csv")
    path = "/v1/admin/tenants/jays/usage?first_day=2026-11-01&last_day=2026-11-21&format=csv"
    assert printed.stdout_bytes == httpx2.get(url + path, headers={"Authorization": f"Bearer {ADMIN}"}).content
    assert printed.stdout_bytes == ",".join(COLUMNS).encode() + b"\r\n"
    assert rows(typed("usage", "--tenant", "jays", "--last-day", "2026-11-21", "--json")) == []


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("tenants", "create", "Birds"), 3, "id"),
        (("tenants", "change", "nobody", "--tier", "free"), 3, "nobody"),
        (("keys", "create", "nobody"), 3, "nobody"),
        (("keys", "revoke", "key_none"), 3, "key_none"),
        (("keys", "create", "birds", "--expires", "soon"), 2, "soon"),
        (("usage", "--first-day", "yesterday"), 3, "first_day"),
        (("demand", "prewarm", "painter"), 3, "text-to-image"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(typed: Type, arguments: tuple[str, ...], code: int, said: str) -> None:
    result = typed(*arguments)
    assert result.exit_code == code
    assert said in result.stderr
    assert "Traceback" not in result.output


def test_without_a_key_and_without_a_gateway_it_says_so(
    typed: Type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bowerbird.client.retrying.FIRST_REST_SECONDS", 0.01)
    assert typed("tenants", "list", BOWERBIRD_KEY="").exit_code == 3
    result = typed("tenants", "list", BOWERBIRD_URL="http://127.0.0.1:9", BOWERBIRD_HOME=str(tmp_path))
    assert result.exit_code == 4


def test_a_key_may_use_what_it_may_and_no_more(typed: Type) -> None:
    typed("tenants", "create", "wrens")
    key = typed("keys", "create", "wrens").stdout.strip()
    assert typed("usage", BOWERBIRD_KEY=key).exit_code == 0
    refused = typed("tenants", "list", BOWERBIRD_KEY=key)
    assert (refused.exit_code, "tenants:read" in refused.stderr) == (3, True)
