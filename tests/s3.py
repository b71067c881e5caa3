"""A real S3 server for tests: Versity's gateway (Apache-2.0) over a temporary folder, on loopback.

`go_programs` builds it. Where it is missing, tests that need it are skipped; in CI they fail.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from .go_programs import S3

START_SECONDS = 30.0
STOP_SECONDS = 10.0
POLL_SECONDS = 0.05


class RunningS3:
    """A server with one bucket, `pictures`."""

    def __init__(self, url: str, keys: tuple[str, str], process: subprocess.Popen[bytes], files: Path) -> None:
        self._process = process
        self.files = files
        """The folder in which it keeps the bucket, an object a file."""
        access_key, secret_key = keys
        self.environment: Mapping[str, str] = {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": access_key,
            "AWS_SECRET_ACCESS_KEY": secret_key,
            "AWS_REGION": "us-east-1",
        }
        """What a process needs to reach it."""

    def new_key(self) -> Mapping[str, str]:
        """What reaches it by another key, as long as that is not taken away."""
        access_key, secret_key = f"key-{secrets.token_hex(6)}", secrets.token_hex(20)
        self._administer("create-user", "--access", access_key, "--secret", secret_key, "--role", "admin")
        return {**self.environment, "AWS_ACCESS_KEY_ID": access_key, "AWS_SECRET_ACCESS_KEY": secret_key}

    def take_away(self, key: Mapping[str, str]) -> None:
        """From now on nobody is known by it."""
        self._administer("delete-user", "--access", key["AWS_ACCESS_KEY_ID"])

    def _administer(self, *command: str) -> None:
        stated = {"ADMIN_ENDPOINT_URL": "AWS_ENDPOINT_URL", "ADMIN_ACCESS_KEY_ID": "AWS_ACCESS_KEY_ID"}
        stated |= {"ADMIN_SECRET_ACCESS_KEY": "AWS_SECRET_ACCESS_KEY"}
        environment = {**os.environ, **{name: self.environment[each] for name, each in stated.items()}}
        subprocess.run([str(S3.path), "admin", *command], env=environment, check=True, capture_output=True)

    @property
    def bucket_url(self) -> str:
        """What BOWERBIRD_PICTURES_URL would begin with."""
        return "s3://pictures"

    def pause(self) -> None:
        """SIGSTOP: connections stay open and nothing answers."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self._process.send_signal(signal.SIGCONT)


@contextmanager
def running_s3() -> Iterator[RunningS3]:
    """A server over an empty folder; raises FileNotFoundError when it was not built."""
    if why := S3.why_missing:
        raise FileNotFoundError(why)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    access_key, secret_key = "bowerbird", secrets.token_hex(20)
    folder = Path(tempfile.mkdtemp(prefix="bowerbird-s3-"))
    (folder / "files" / "pictures").mkdir(parents=True)
    for name in ("metadata", "users"):
        (folder / name).mkdir()
    command = [str(S3.path), "--port", f"127.0.0.1:{port}", "--quiet", "--keep-alive"]
    command += ["--iam-dir", str(folder / "users"), "--iam-cache-disable"]
    storage = ["posix", "--sidecar", str(folder / "metadata"), str(folder / "files")]
    environment = {**os.environ, "ROOT_ACCESS_KEY": access_key, "ROOT_SECRET_KEY": secret_key}
    process = subprocess.Popen(
        [*command, *storage], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _wait_for(port, process)
        yield RunningS3(f"http://127.0.0.1:{port}", (access_key, secret_key), process, folder / "files")
    finally:
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait(STOP_SECONDS)
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def s3() -> Iterator[RunningS3]:
    """One server for the whole session; tests use prefixes of their own."""
    try:
        with running_s3() as server:
            yield server
    except FileNotFoundError as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    ends_at = time.monotonic() + START_SECONDS
    while True:
        assert process.poll() is None, "the S3 server ended"
        assert time.monotonic() < ends_at, "the S3 server does not answer"
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(POLL_SECONDS)
        else:
            return
