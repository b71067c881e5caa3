"""`bowerbird people|tenants export|erase`, typed against a real gateway."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from bowerbird.cli import app
from bowerbird.client import Client, administration
from bowerbird.gateway.app import create_app
from bowerbird.settings import Settings

from ..gateway.stand_ins import served

ADMIN = "the-first-administrators-key"

Type = Callable[..., Result]


@pytest.fixture(scope="module", autouse=True)
def _short() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("bowerbird.gateway.rights.erasing.STOP_SECONDS", 0.1)
        patched.setattr("bowerbird.gateway.rights.erasing.SETTLE_SECONDS", 0.1)
        patched.setattr("bowerbird.gateway.rights.carrying.LOOK_SECONDS", 0.1)
        patched.setattr("bowerbird.rights.LOOK_SECONDS", 0.1)
        yield


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A gateway whose stages nobody started: rights need none."""
    settings = Settings(home=tmp_path_factory.mktemp("home"), admin_keys=frozenset({ADMIN}))
    with served(create_app(settings)) as address:
        yield address


@pytest.fixture
def typed(url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Type:
    """Types a command, as an administrator unless a key says otherwise."""
    monkeypatch.setenv("BOWERBIRD_URL", url)
    monkeypatch.setenv("BOWERBIRD_KEY", ADMIN)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, said: str | None = None, **environment: str) -> Result:
        return CliRunner().invoke(app, list(arguments), input=said, env=environment)

    return run


def key_of(url: str, tenant: str) -> str:
    with Client(url, ADMIN) as client:
        client.send(administration.create_tenant(tenant, {}))
        return str(client.send(administration.create_key(tenant, {}))["key"])


def test_an_end_user_is_given_what_is_kept_and_is_erased(typed: Type, url: str, tmp_path: Path) -> None:
    key = key_of(url, "birds")
    exported = typed("people", "export", "user-4711", "-o", "them.tar", BOWERBIRD_KEY=key)
    assert exported.exit_code == 0, exported.output
    with tarfile.open(tmp_path / "them.tar") as archive:
        assert archive.getnames() == ["README.txt", "exports-00001.jsonl", "manifest.json"]
    erased = typed("people", "erase", "user-4711", "--yes", "--json", BOWERBIRD_KEY=key)
    assert erased.exit_code == 0, erased.output
    told = json.loads(erased.stdout)
    assert (told["tenant"], told["status"], told["erased"]) == ("birds", "finished", {})
    by_administrator = typed("people", "erase", "-", "--tenant", "birds", "--yes", "--json", said="user-4711\n")
    assert json.loads(by_administrator.stdout)["person"] == told["person"]


def test_a_tenant_is_given_what_is_kept_and_is_erased(typed: Type, url: str, tmp_path: Path) -> None:
    key = key_of(url, "owls")
    assert typed("tenants", "export", "owls").exit_code == 0
    [file] = tmp_path.glob("exp_*.tar")
    with tarfile.open(file) as archive:
        assert "keys-00001.jsonl" in archive.getnames()
    erased = typed("tenants", "erase", "owls", "--yes")
    assert erased.exit_code == 0, erased.output
    assert "finished; 1 keys" in erased.stdout
    assert typed("people", "export", "user-4711", BOWERBIRD_KEY=key).exit_code == 3


def test_nothing_is_erased_before_somebody_says_yes(typed: Type, url: str) -> None:
    key = key_of(url, "robins")
    asked = typed("people", "erase", "user-4711", said="n\n", BOWERBIRD_KEY=key)
    assert asked.exit_code == 1
    assert "cannot be undone" in asked.output
    with Client(url, key) as client:
        from bowerbird.client import rights

        assert client.send(rights.list_erasures()).items == []


def test_a_tenants_key_does_not_reach_beyond_its_people(typed: Type, url: str) -> None:
    key = key_of(url, "wrens")
    refused = typed("tenants", "erase", "wrens", "--yes", BOWERBIRD_KEY=key)
    assert (refused.exit_code, "tenants:erase" in refused.output) == (3, True)
