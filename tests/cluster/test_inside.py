"""TLS within a release, on a real cluster: the chain draws, strangers are not answered, leaves are renewed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .certificates import Authority
from .cluster import Cluster
from .release import MODELS, Release, created, drawing, loaded, paint, release_of

pytestmark = pytest.mark.timeout(900)

NAMESPACE = "inside"
SECRET = "members"
REFRESH_SECONDS = 150
"""The kubelet brings a Secret that has changed within its sync period and its cache's age."""
ASKS = """
import socket, ssl
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
try:
    with context.wrap_socket(socket.create_connection(("safety", 3000), 5)) as asked:
        asked.sendall(b"GET /describe HTTP/1.1\\r\\nHost: safety\\r\\n\\r\\n")
        print(asked.recv(1))
except OSError as error:
    print(type(error).__name__)
"""
SHOWS = """
import hashlib, ssl
print(hashlib.sha256(open("/etc/bowerbird/inside/tls.crt", "rb").read()).hexdigest())
"""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The CA of the release."""
    return Authority(tmp_path_factory.mktemp("members"))


@pytest.fixture(scope="module")
def release(cluster: Cluster, authority: Authority) -> Iterator[Release]:
    """One whose processes speak mutual TLS, ready: probes and drain without."""
    loaded(cluster)
    made = release_of(cluster, NAMESPACE, "--set", f"tls.existingSecret={SECRET}")
    created(made)
    made.kubectl("create", "secret", "generic", SECRET, *leaf(authority))
    made.upgrade()
    yield made
    cluster.kubectl("delete", "namespace", made.namespace, "--wait=false")


def leaf(authority: Authority) -> list[str]:
    """A certificate of a member, as kubectl takes it."""
    folder = authority.certificate_file.parent
    (folder / "member.key").unlink(missing_ok=True)
    certificate, key = authority.issue(folder / "member", "member", hosts=[f"{NAMESPACE}.{NAMESPACE}"])
    files: dict[str, Path] = {"tls.crt": certificate, "tls.key": key, "ca.crt": authority.certificate_file}
    return [f"--from-file={name}={file}" for name, file in files.items()]


def test_the_chain_draws(release: Release) -> None:
    with release.reached() as client:
        assert paint(client)


def test_who_shows_no_certificate_is_not_answered(release: Release) -> None:
    (gateway,) = release.pods("gateway")
    said = release.kubectl("exec", gateway, "--", "python", "-c", ASKS).strip()
    assert said in {"b''", "SSLError", "ConnectionResetError"}, said


def test_a_leaf_is_renewed_while_pictures_are_drawn(release: Release, authority: Authority) -> None:
    before = release.pods()
    shown = {name: digest(release, name) for name in before}
    with release.reached() as client, drawing(client) as told:
        renewed = release.kubectl(
            "create", "secret", "generic", SECRET, *leaf(authority), "--dry-run=client", "-o", "json"
        )
        release.cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", manifest=renewed)
        release.cluster.until(
            lambda: all(digest(release, name) != shown[name] for name in before), "renewed files", REFRESH_SECONDS
        )
        so_far = told.pictures
        release.cluster.until(lambda: told.pictures > so_far + 2, "pictures by the new leaf")
        time.sleep(5)  # connections of before are closed, and made anew
    assert told.errors == []
    assert release.pods() == before, "nobody was restarted"
    assert set(MODELS) <= set(release.wanted())


def digest(release: Release, pod: str) -> str:
    """Of the certificate that a pod sees."""
    return release.kubectl("exec", pod, "--", "python", "-c", SHOWS).strip()
