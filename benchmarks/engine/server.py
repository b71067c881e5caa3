"""A service as a process on a free port: started, waited for, stopped with everything it started."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.engine.contender import environment_of
from benchmarks.engine.environments import CONTENDERS, PeerMissing

START_SECONDS = 120.0
OURS = "bowerbird.text_to_image.service:TextToImage"


@dataclass(frozen=True, slots=True)
class Served:
    """A running service; `pid` is the process that leads its group."""

    url: str
    pid: int


@contextmanager
def serving(command: Sequence[str], port: int, environment: Mapping[str, str], ready: str) -> Iterator[str]:
    """The address of a running service; raises PeerMissing with its last words when it does not get ready."""
    with running(command, port, environment, ready) as served:
        yield served.url


@contextmanager
def running(command: Sequence[str], port: int, environment: Mapping[str, str], ready: str) -> Iterator[Served]:
    """A service whose CPU and memory are looked at, too; raises as `serving` does."""
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(  # noqa: S603
            command, stdout=log, stderr=log, text=True, env=environment_of(environment), start_new_session=True
        )
        url = f"http://127.0.0.1:{port}"
        try:
            if not _gets_ready(process, url + ready):
                log.seek(0)
                words = log.read().strip().splitlines() or ["it said nothing"]
                raise PeerMissing(f"{Path(command[0]).name} {command[-1]}: {words[-1][:200]}")
            yield Served(url, process.pid)
        finally:
            stop(process)


def stop(process: subprocess.Popen[str]) -> None:
    """Ends the process and the group it leads."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def bentoml_command(service: str, port: int, python: Path | None = None) -> list[str]:
    """`bentoml serve` by an interpreter's own module; a peer's service lies beside its file."""
    here = ["--working-dir", str(CONTENDERS)] if service != OURS else []
    return [
        str(python or sys.executable),
        "-m",
        "bentoml",
        "serve",
        *here,
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        service,
    ]


@contextmanager
def text_to_image(bundle: Path, **settings: str) -> Iterator[str]:
    """Our service; settings by their names in settings.py."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="bowerbird-") as home:
        environment = {"BOWERBIRD_HOME": home, "BOWERBIRD_MODEL": str(bundle)}
        environment |= {f"BOWERBIRD_{name.upper()}": value for name, value in settings.items()}
        with serving(bentoml_command(OURS, port), port, environment, "/readyz") as url:
            yield url


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _gets_ready(process: subprocess.Popen[str], url: str) -> bool:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        answer = suppress(urllib.error.URLError, ConnectionError, TimeoutError)
        with answer, urllib.request.urlopen(url, timeout=5):  # noqa: S310 - an address of ours
            return True
        time.sleep(0.05)
    return False
