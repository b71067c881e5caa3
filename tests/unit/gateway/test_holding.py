"""The process that holds the gateway's socket: who comes while the gateway is away is answered by the next one."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx2
import psutil
import pytest

SECONDS = 60.0
KILLED = 128 + signal.SIGKILL


@contextmanager
def held(home: Path, *options: str, **environment: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A holder of a free port, and where that is."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = {"BOWERBIRD_HOME": str(home), "BOWERBIRD_HOST": "127.0.0.1", "BOWERBIRD_PORT": str(port)}
    with subprocess.Popen(
        [sys.executable, "-m", "bowerbird.gateway.holding", *options],
        env={**os.environ, "PYTHONPATH": "services", **settings, **environment},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process, f"http://127.0.0.1:{port}"
        finally:
            for each in gateways(process):
                each.kill()
            process.kill()


def gateways(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """What it has started and still runs."""
    try:
        return [each for each in psutil.Process(process.pid).children() if each.status() != psutil.STATUS_ZOMBIE]
    except psutil.NoSuchProcess:
        return []


def is_alive(url: str) -> bool:
    """Waits for the answer, however long the gateway takes to start: the socket listens all the time."""
    return bool(httpx2.get(f"{url}/livez", timeout=SECONDS, trust_env=False).json() == {"status": "alive"})


def listens(url: str) -> None:
    """Returns when the socket is there."""
    ends_at = time.monotonic() + SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))).close()
            return
        except ConnectionRefusedError:
            assert time.monotonic() < ends_at
            time.sleep(0.01)


def test_who_comes_while_a_killed_gateway_is_away_is_answered_by_the_next(tmp_path: Path) -> None:
    with held(tmp_path, "--again-seconds", "0") as (process, url), ThreadPoolExecutor(8) as threads:
        listens(url)
        assert is_alive(url)
        (gateway,) = gateways(process)
        gateway.kill()
        gateway.wait(SECONDS)
        assert all(threads.map(is_alive, [url] * 8))
        assert gateways(process) != [gateway]
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=SECONDS)[1]
    assert '"signal": 9' in said
    assert process.returncode == 0


def lives(url: str) -> bool:
    """What it says of the gateway, within the second that a kubelet waits."""
    return httpx2.get(url, timeout=1.0, trust_env=False).status_code == httpx2.codes.OK


def test_a_gateway_that_hangs_is_not_alive_and_one_that_is_started_again_is(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with held(tmp_path, "--again-seconds", "0", "--liveness-port", str(port)) as (process, url):
        told = f"http://127.0.0.1:{port}"
        listens(told)
        assert lives(told), "it starts"
        assert is_alive(url)
        assert lives(told)
        (gateway,) = gateways(process)
        gateway.suspend()
        assert not lives(told)
        gateway.resume()
        assert lives(told)
        gateway.kill()
        gateway.wait(SECONDS)
        with ThreadPoolExecutor(1) as thread:
            answered = thread.submit(is_alive, url)
            while not answered.done():
                assert lives(told), "another one starts"
                time.sleep(0.05)


def test_who_comes_while_it_ends_is_refused_and_who_came_before_is_not(tmp_path: Path) -> None:
    with held(tmp_path) as (process, url), httpx2.Client(base_url=url, timeout=SECONDS, trust_env=False) as client:
        listens(url)
        assert is_alive(url)
        body = begun_body(process)
        with ThreadPoolExecutor(1) as thread:
            asked = thread.submit(client.post, "/v1/images/generations", content=body)
            time.sleep(0.5)  # its head has arrived
            ends_at = time.monotonic() + SECONDS
            while accepts(url):
                assert time.monotonic() < ends_at
                time.sleep(0.01)
            assert process.poll() is None
            assert asked.result().status_code == httpx2.codes.BAD_REQUEST
        assert process.wait(SECONDS) == 0


def begun_body(process: subprocess.Popen[str]) -> Iterator[bytes]:
    """A request's body between whose two halves the process is told to end, and has a while for that."""
    yield b"{"
    time.sleep(1)
    process.send_signal(signal.SIGTERM)
    time.sleep(1)
    yield b"]"


def accepts(url: str) -> bool:
    """Whether somebody listens."""
    try:
        socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))).close()
    except ConnectionRefusedError:
        return False
    return True


def test_what_it_is_told_it_passes_on_and_waits_for(tmp_path: Path) -> None:
    with held(tmp_path) as (process, url):
        listens(url)
        assert is_alive(url)
        (gateway,) = gateways(process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == 0
        assert not gateway.is_running()


def test_a_gateway_that_cannot_start_ends_it_with_its_own_words(tmp_path: Path) -> None:
    with held(tmp_path, BOWERBIRD_HOST="0.0.0.0") as (process, _):  # noqa: S104 - what is refused
        said = process.communicate(timeout=SECONDS)[1]
    assert process.returncode == 1
    assert "BOWERBIRD_API_KEYS" in said.splitlines()[-1]


def test_one_that_is_killed_again_and_again_is_left_to_whoever_supervises(tmp_path: Path) -> None:
    with held(tmp_path, "--again-seconds", "600") as (process, url):
        listens(url)
        assert is_alive(url)
        (gateway,) = gateways(process)
        gateway.kill()
        assert process.wait(SECONDS) == KILLED


@pytest.mark.parametrize("missing", ["BOWERBIRD_HOST", "BOWERBIRD_PORT"])
def test_without_an_address_it_says_what_it_wants(missing: str) -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("BOWERBIRD_")}
    address = {"BOWERBIRD_HOST": "127.0.0.1", "BOWERBIRD_PORT": "0"}
    del address[missing]
    done = subprocess.run(
        [sys.executable, "-m", "bowerbird.gateway.holding"],
        env={**environment, "PYTHONPATH": "services", **address},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr.strip()) == (
        1,
        "BOWERBIRD_HOST and BOWERBIRD_PORT say where the gateway listens.",
    )


def test_it_imports_the_standard_library_only() -> None:
    imports = "import sys, bowerbird.gateway.holding; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", imports],
        env={**os.environ, "PYTHONPATH": "services"},
        capture_output=True,
        text=True,
        check=True,
    )
    own = {name for name in done.stdout.split() if not name.startswith("_")} - set(sys.stdlib_module_names)
    assert own == {"bowerbird"}
