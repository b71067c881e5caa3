"""The gateway as a process: where it listens, what it refuses to do, how it ends, what it weighs."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import psutil
import pytest

from bowerbird.gateway.identity.configured import open_binding
from bowerbird.settings import Settings

START_SECONDS = END_SECONDS = 60.0
"""Of a process on a machine that has much else to do."""
HEAVY = ("numpy", "torch", "cv2", "PIL", "onnxruntime", "bentoml", "presidio_analyzer")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def process(home: Path) -> Iterator[subprocess.Popen[str]]:
    with start(home, BOWERBIRD_PORT="0") as started:
        yield started
        started.kill()


def start(home: Path, descriptors: tuple[int, ...] = (), **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "bowerbird.gateway.main"],
        env={**os.environ, "PYTHONPATH": "services", "BOWERBIRD_HOME": str(home), **environment},
        stderr=subprocess.PIPE,
        text=True,
        pass_fds=descriptors,
    )


def address(home: Path) -> str:
    file, ends_at = home / "gateway.json", time.monotonic() + START_SECONDS
    while not file.exists():
        assert time.monotonic() < ends_at, "the gateway did not say where it listens"
        time.sleep(0.02)
    return str(json.loads(file.read_text())["url"])


def test_port_0_is_a_free_one_that_is_announced_until_the_process_ends(
    process: subprocess.Popen[str], home: Path
) -> None:
    url = address(home)
    assert httpx2.get(f"{url}/livez").json() == {"status": "alive"}

    process.send_signal(signal.SIGTERM)
    errors = process.communicate(timeout=END_SECONDS)[1]
    assert process.returncode == 0
    assert not (home / "gateway.json").exists()
    listening = [json.loads(line) for line in errors.splitlines() if '"listening"' in line]
    assert [f"http://{each['host']}:{each['port']}" for each in listening] == [url]


def test_ctrl_c_ends_it_quietly(process: subprocess.Popen[str], home: Path) -> None:
    address(home)
    process.send_signal(signal.SIGINT)

    assert "Traceback" not in process.communicate(timeout=END_SECONDS)[1]
    assert process.returncode == 0


def test_it_weighs_little_and_imports_nothing_heavy(process: subprocess.Popen[str], home: Path) -> None:
    url = address(home)
    httpx2.get(f"{url}/docs")
    mapped = {Path(each.path).name for each in psutil.Process(process.pid).memory_maps()}

    assert not [name for name in mapped if any(heavy in name for heavy in HEAVY)]
    imported = subprocess.run(
        [sys.executable, "-c", "import sys, bowerbird.gateway.main; print(*sys.modules)"],
        env={**os.environ, "PYTHONPATH": "services"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert not set(HEAVY) & set(imported)


def test_port_that_is_taken_is_named(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with start(home, BOWERBIRD_PORT=port) as refused:
            errors = refused.communicate(timeout=END_SECONDS)[1]

    assert refused.returncode == 1
    assert f"port {port}" in errors
    assert "BOWERBIRD_PORT" in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.org", ""])  # noqa: S104 - what is refused
def test_without_keys_only_loopback_is_bound(host: str) -> None:
    assert "BOWERBIRD_API_KEYS" in (open_binding(Settings(host=host)) or "")
    assert open_binding(Settings(host=host, api_keys=frozenset({"key"}))) is None


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.0.1", "::1", "localhost"])
def test_loopback_needs_no_keys(host: str) -> None:
    assert open_binding(Settings(host=host)) is None


def test_process_refuses_to_be_reachable_without_keys(home: Path) -> None:
    with start(home, BOWERBIRD_HOST="0.0.0.0", BOWERBIRD_PORT="0") as refused:  # noqa: S104 - what is refused
        errors = refused.communicate(timeout=END_SECONDS)[1]

    assert refused.returncode == 1
    assert "BOWERBIRD_API_KEYS" in errors
    assert not (home / "gateway.json").exists()


def test_who_comes_while_it_is_restarted_is_answered_when_it_is_back(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as kept, ThreadPoolExecutor(1) as waiting:
        url = f"http://127.0.0.1:{kept.getsockname()[1]}/livez"
        for _ in range(2):
            early = waiting.submit(httpx2.get, url, timeout=60)
            with start(home, (kept.fileno(),), BOWERBIRD_LISTEN_FD=str(kept.fileno())) as process:
                assert early.result().status_code == 200
                process.kill()
                process.communicate()
