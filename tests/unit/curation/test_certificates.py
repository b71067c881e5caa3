"""Who signs: a certificate that is made once, and files that are refused by name."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from bowerbird.curation.certificates import FOLDER, load_identity
from bowerbird.curation.publishing import open_credentials
from bowerbird.errors import CertificateInvalid
from bowerbird.settings import Settings

from .chains import Files, certificate, pem

TWO_STARTS = """
import sys, pathlib
from bowerbird.settings import Settings
from bowerbird.curation.certificates import load_identity
print("ready", flush=True)
sys.stdin.readline()
sys.stdout.write(load_identity(Settings(home=pathlib.Path(sys.argv[1]))).chain.decode())
"""


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def test_the_development_certificate_is_made_once_and_used_again(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    first, second = load_identity(settings), load_identity(settings)
    assert first == second


def test_the_development_key_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    load_identity(Settings(home=tmp_path))
    folder = tmp_path / FOLDER
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()} == {
        "chain.pem": 0o600,
        "key.pem": 0o600,
    }
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_the_key_is_in_no_representation(tmp_path: Path) -> None:
    identity = load_identity(Settings(home=tmp_path))
    assert "PRIVATE KEY" in identity.key.decode()
    assert "PRIVATE KEY" not in repr(identity)


def test_two_processes_that_start_at_once_end_with_one_certificate(tmp_path: Path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", TWO_STARTS, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        for _ in range(2)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    chains = [process.communicate(timeout=60)[0] for process in processes]
    assert chains[0] == chains[1]
    assert chains[0].count("BEGIN CERTIFICATE") == 2
    assert [path.name for path in (tmp_path / FOLDER).parent.iterdir()] == [FOLDER.name]


def test_a_draft_that_a_killed_process_left_is_not_taken_for_a_certificate(tmp_path: Path) -> None:
    draft = tmp_path / FOLDER.parent / ".development-certificate-dead"
    draft.mkdir(parents=True)
    (draft / "chain.pem").write_text("half")
    assert load_identity(Settings(home=tmp_path)).algorithm == "es256"


def test_a_home_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CertificateInvalid, match=r"file/curation/development-certificate cannot be made"):
        load_identity(Settings(home=tmp_path / "file"))


def test_a_damaged_development_certificate_is_named_and_not_replaced(tmp_path: Path) -> None:
    load_identity(Settings(home=tmp_path))
    key = tmp_path / FOLDER / "key.pem"
    key.write_text("not a key")
    with pytest.raises(CertificateInvalid, match=str(key)):
        load_identity(Settings(home=tmp_path))
    assert key.read_text() == "not a key"


@pytest.mark.parametrize(
    ("make", "algorithm"),
    [
        (lambda: ec.generate_private_key(ec.SECP384R1()), "es384"),
        (ed25519.Ed25519PrivateKey.generate, "ed25519"),
        (lambda: rsa.generate_private_key(65537, 2048), "ps256"),
    ],
)
def test_a_configured_certificate_signs_whatever_its_kind_of_key(
    files: Files, make: Callable[[], PrivateKeyTypes], algorithm: str
) -> None:
    files.leaf = make()
    identity = load_identity(files.settings())
    assert identity.algorithm == algorithm
    open_credentials(identity)


def test_a_configured_leaf_is_trusted_through_the_configured_anchors(files: Files) -> None:
    anchors = files.folder / "anchors.pem"
    anchors.write_bytes(certificate(files.root, files.root, ca=True).public_bytes(serialization.Encoding.PEM))
    open_credentials(load_identity(files.settings([certificate(files.leaf, files.root)], trust_anchors=anchors)))


@pytest.mark.parametrize("missing", ["certificate", "certificate_key"])
def test_a_certificate_without_its_key_is_refused(files: Files, missing: str) -> None:
    with pytest.raises(CertificateInvalid, match="belong together"):
        load_identity(files.settings().model_copy(update={missing: None}))


@pytest.mark.parametrize("name", ["tls.crt", "tls.key"])
@pytest.mark.parametrize("content", [None, b"", b"-----BEGIN NONSENSE-----"])
def test_a_wrong_file_is_refused_by_name(files: Files, name: str, content: bytes | None) -> None:
    settings = files.settings()
    path = files.folder / name
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    with pytest.raises(CertificateInvalid, match=str(path)):
        load_identity(settings)


def test_an_encrypted_key_is_refused_by_name(files: Files) -> None:
    settings = files.settings()
    (files.folder / "tls.key").write_bytes(pem(files.leaf, b"secret"))
    with pytest.raises(CertificateInvalid, match=r"tls\.key is not an unencrypted"):
        load_identity(settings)


def test_a_key_of_another_certificate_is_refused(files: Files) -> None:
    settings = files.settings()
    (files.folder / "tls.key").write_bytes(pem(files.root))
    with pytest.raises(CertificateInvalid, match=r"tls\.key is not the key of the first certificate"):
        load_identity(settings)


def test_an_expired_certificate_is_refused(files: Files) -> None:
    chain = [certificate(files.leaf, files.root, days=-5), certificate(files.root, files.root, ca=True)]
    with pytest.raises(CertificateInvalid, match="not valid today"):
        load_identity(files.settings(chain))


def test_a_chain_in_the_wrong_order_is_refused(files: Files) -> None:
    other = ec.generate_private_key(ec.SECP256R1())
    chain = [certificate(files.leaf, files.root), certificate(other, other, ca=True)]
    with pytest.raises(CertificateInvalid, match="issued by the one after it"):
        load_identity(files.settings(chain))


@pytest.mark.parametrize(("usage", "fact"), [(None, "states no key usage"), (False, "not for digital signatures")])
def test_a_leaf_that_may_not_sign_is_refused(files: Files, usage: bool | None, fact: str) -> None:
    chain = [certificate(files.leaf, files.root, usage=usage), certificate(files.root, files.root, ca=True)]
    with pytest.raises(CertificateInvalid, match=fact):
        load_identity(files.settings(chain))


def test_a_kind_of_key_that_c2pa_does_not_know_is_refused(files: Files) -> None:
    files.leaf = dsa.generate_private_key(2048)
    with pytest.raises(CertificateInvalid, match="C2PA accepts keys on"):
        load_identity(files.settings())


def test_a_leaf_that_chains_to_no_anchor_stops_the_start(files: Files) -> None:
    """The chain file holds the leaf alone, and nothing says whom to trust."""
    identity = load_identity(files.settings([certificate(files.leaf, files.root)]))
    with pytest.raises(CertificateInvalid, match=r"tls\.crt cannot be used for content credentials"):
        open_credentials(identity)
