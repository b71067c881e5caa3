"""Secrets in the database open with the gateway's key and for their own endpoint only."""

from __future__ import annotations

import base64
import secrets
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bowerbird.gateway.webhooks.sealing import KEY_FILE, SealBroken, Sealer, key_of_home, read_keys

OLD, NEW = secrets.token_bytes(32), secrets.token_bytes(32)


def test_what_was_sealed_opens_and_nothing_of_it_is_seen() -> None:
    sealed = Sealer([OLD]).seal(b"secret" * 5, "we_1")
    assert b"secret" not in sealed
    assert Sealer([OLD]).open(sealed, "we_1") == b"secret" * 5
    assert Sealer([OLD]).seal(b"secret" * 5, "we_1") != sealed


def test_after_a_change_of_keys_both_open_and_the_first_seals() -> None:
    sealed = Sealer([OLD]).seal(b"secret", "we_1")
    assert Sealer([NEW, OLD]).open(sealed, "we_1") == b"secret"
    with pytest.raises(SealBroken):
        Sealer([OLD]).open(Sealer([NEW, OLD]).seal(b"secret", "we_1"), "we_1")


def test_a_sealed_secret_does_not_open_for_another_endpoint_nor_when_it_was_altered() -> None:
    sealed = Sealer([OLD]).seal(b"secret", "we_1")
    for altered, endpoint in ((sealed, "we_2"), (sealed[:-1] + bytes([sealed[-1] ^ 1]), "we_1")):
        with pytest.raises(SealBroken):
            Sealer([OLD]).open(altered, endpoint)


def test_the_key_of_a_home_is_made_once_and_is_its_owners_only(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        keys = set(threads.map(lambda _: key_of_home(tmp_path), range(16)))
    assert len(keys) == 1
    assert [file.name for file in tmp_path.iterdir()] == [KEY_FILE]
    assert (tmp_path / KEY_FILE).stat().st_mode & 0o777 == 0o600


def test_a_key_that_is_none_stops_the_start_in_a_sentence(tmp_path: Path) -> None:
    assert read_keys([base64.b64encode(OLD).decode()]) == [OLD]
    for stated in ("", "short", base64.b64encode(b"x" * 31).decode()):
        with pytest.raises(SystemExit, match="number 1"):
            read_keys([stated])
    (tmp_path / KEY_FILE).write_bytes(b"cut")
    with pytest.raises(SystemExit, match="not a key"):
        key_of_home(tmp_path)


def test_a_key_that_is_there_is_read_where_nothing_can_be_written(tmp_path: Path) -> None:
    """A gateway that died on a full disk starts on it."""
    key = key_of_home(tmp_path)
    assert _on_a_full_disk(tmp_path).stdout.strip() == key.hex()
    assert [file.name for file in tmp_path.iterdir()] == [KEY_FILE]


def test_a_key_that_cannot_be_written_leaves_nothing_half_written(tmp_path: Path) -> None:
    assert "File too large" in _on_a_full_disk(tmp_path).stderr
    assert not list(tmp_path.iterdir())


def _on_a_full_disk(home: Path) -> subprocess.CompletedProcess[str]:
    """The key's hexadecimal digits, asked for by a process that may not write a byte to any file."""
    script = (
        "import resource, sys; from pathlib import Path; from bowerbird.gateway.webhooks.sealing import key_of_home;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)); key = key_of_home(Path(sys.argv[1]));"
        "sys.stdout.write(key.hex())"
    )
    return subprocess.run([sys.executable, "-c", script, home], capture_output=True, text=True, check=False)
