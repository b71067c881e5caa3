"""Credentials as files: read like the variables that they are named after, and read again when they change."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from bowerbird.gateway.app import create_app
from bowerbird.gateway.credentials import Credentials
from bowerbird.gateway.webhooks.sealing import Sealer, read_keys
from bowerbird.settings import Settings
from tests.mounted import MountedSecret

from .conftest import closed_url, opened, settings_for
from .stand_ins import served

OLD, NEW = "an-administrators-old-key", "an-administrators-new-key"


@pytest.fixture
def secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MountedSecret:
    secret = MountedSecret(tmp_path / "secrets")
    monkeypatch.setenv("BOWERBIRD_SECRETS", str(secret.folder))
    return secret


def test_files_are_settings_and_a_variable_goes_before_its_file(
    secret: MountedSecret, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret.write(bowerbird_admin_keys=json.dumps([OLD]) + "\n", bowerbird_database_url="postgresql://u:p@host/name\n")
    assert Settings().admin_keys == {OLD}
    assert Settings().database_url == "postgresql://u:p@host/name"
    monkeypatch.setenv("BOWERBIRD_ADMIN_KEYS", json.dumps([NEW]))
    assert Settings().admin_keys == {NEW}


def test_a_file_that_cannot_be_read_names_its_setting_and_not_what_is_in_it(secret: MountedSecret) -> None:
    secret.write(bowerbird_admin_keys=json.dumps(["short"]))
    with pytest.raises(ValidationError) as raised:
        Settings()
    assert "admin_keys" in str(raised.value)
    assert "'short'" not in str(raised.value)


def test_a_folder_that_was_not_mounted_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOWERBIRD_SECRETS", "/nowhere")
    with pytest.raises(SystemExit, match="BOWERBIRD_SECRETS: /nowhere is no folder"):
        Settings()


def test_keys_are_rotated_without_a_restart(
    secret: MountedSecret, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bowerbird.gateway.credentials.LOOK_SECONDS", 0.01)
    secret.write(bowerbird_admin_keys=json.dumps([OLD]))
    settings = settings_for(closed_url(), tmp_path / "home")
    with served(create_app(settings)) as url, opened(url) as client:

        def status(key: str) -> int:
            return client.get("/v1/admin/tiers", headers={"Authorization": f"Bearer {key}"}).status_code

        assert (status(OLD), status(NEW)) == (200, 401)
        secret.write(bowerbird_admin_keys=json.dumps([OLD, NEW]))
        while status(NEW) != 200:
            pass
        assert status(OLD) == 200
        secret.write(bowerbird_admin_keys=json.dumps([NEW]))
        while status(OLD) != 401:
            pass
        assert status(NEW) == 200


@pytest.mark.parametrize("text", ["not json", "[]", '["short"]', None])
def test_what_cannot_be_read_leaves_the_keys_as_they_are(
    secret: MountedSecret, text: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    secret.write(bowerbird_admin_keys=json.dumps([OLD]))
    taken: list[Settings] = []
    credentials = Credentials(secret.folder, Settings(), taken.append)
    assert not credentials.look(), "nothing has changed"
    secret.write(**({} if text is None else {"bowerbird_admin_keys": text}))
    assert not credentials.look()
    assert not taken
    assert "cannot be read" in caplog.text
    secret.write(bowerbird_admin_keys=json.dumps([NEW]))
    assert credentials.look()
    assert [each.admin_keys for each in taken] == [{NEW}]


def test_a_sealer_opens_with_the_old_key_what_it_seals_anew_with_the_new_one() -> None:
    old, new = (base64.b64encode(bytes([each]) * 32).decode() for each in (1, 2))
    sealer = Sealer(read_keys([old]))
    sealed = sealer.seal(b"secret", "we_1")
    sealer.replace_keys(read_keys([new, old]))
    assert sealer.open(sealed, "we_1") == b"secret"
    assert Sealer(read_keys([new])).open(sealer.seal(b"secret", "we_1"), "we_1") == b"secret"
