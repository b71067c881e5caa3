"""A model service as the one process of its container: it serves, finishes what it draws, and says why it ends."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette

from bowerbird.container import SERVER_OPTIONS, Server, Starting, listening, serve
from bowerbird.parts import Kind, PartReader

SERVICE = "bowerbird.text_to_image.service:TextToImage"
SERVICES = Path(__file__).parents[3] / "services"
WANTED = {"prompt": "a bird", "size": {"width": 64, "height": 64}, "steps": 50, "guidance_scale": 1, "seed": 1}


@contextmanager
def contained(bundle: Path, log: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """The process and its address; killed at the end, if it has not ended."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = {"BOWERBIRD_MODEL": str(bundle), "BENTOML_DO_NOT_TRACK": "True", "PYTHONPATH": str(SERVICES)}
    command = [sys.executable, "-m", "bowerbird.container", SERVICE, "--port", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen(command, env={**os.environ, **own}, stdout=output, stderr=output)
    try:
        yield process, f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait(30)


def until_ready(address: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(1200):
        assert process.poll() is None
        try:
            if httpx.get(f"{address}/readyz", timeout=60).is_success:
                return
        except httpx.ConnectError:  # its interpreter starts
            time.sleep(0.1)
    pytest.fail("the service did not become ready")


def test_what_is_drawn_when_it_is_told_to_end_is_finished(slow_folder: Path, tmp_path: Path) -> None:
    with contained(slow_folder, tmp_path / "log") as (process, address):
        until_ready(address, process)
        assert httpx.get(f"{address}/livez", timeout=60).is_success
        reader, kinds = PartReader(), list[Kind]()
        with httpx.stream("POST", f"{address}/draw", json=WANTED | {"count": 2}, timeout=60) as drawing:
            pieces = drawing.iter_bytes()
            kinds += [each.kind for each in reader.feed(next(pieces))]
            drained = httpx.get(f"{address}/drain?seconds=0", timeout=60).json()
            refused = httpx.post(f"{address}/draw", json=WANTED | {"count": 1}, timeout=60)
            metrics = httpx.get(f"{address}/metrics", timeout=60).text
            process.send_signal(signal.SIGTERM)
            kinds += [each.kind for piece in pieces for each in reader.feed(piece)]
        assert process.wait(60) == 0
    assert kinds.count(Kind.FRAMES) == 2
    assert kinds[-1] is Kind.DONE
    assert (drained.keys(), refused.status_code) == ({"running"}, 429)
    assert 'bowerbird_cold_start_seconds_count{phase="verify"} 1.0' in metrics


def test_an_altered_bundle_ends_it_with_one_sentence(slow_folder: Path, tmp_path: Path) -> None:
    altered = Path(shutil.copytree(slow_folder, tmp_path / "altered"))
    with (altered / "weights.safetensors").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\xff")
    with contained(altered, tmp_path / "log") as (process, _):
        assert process.wait(120) == 1
    *_, last = (tmp_path / "log").read_text().splitlines()
    assert last.startswith(f"{SERVICE} cannot start: BundleInvalid: ")
    assert "weights.safetensors is not the file this bundle was written with: expected sha256:" in last
    assert "found sha256:" in last


def test_one_that_is_told_to_end_while_it_starts_does_so_at_once() -> None:
    @asynccontextmanager
    async def reading_a_model(_: Starlette) -> AsyncIterator[None]:
        signal.raise_signal(signal.SIGTERM)
        yield

    starting = Starting(Starlette(lifespan=reading_a_model))
    listener = listening(0)
    with listener, pytest.raises(SystemExit):
        Server(uvicorn.Config(starting, **SERVER_OPTIONS)).run(sockets=[listener])
    assert isinstance(starting.failure, SystemExit)
    assert starting.failure.code == 0


def test_what_is_no_service_is_named() -> None:
    with listening(0) as listener, pytest.raises(SystemExit, match=r"text_to_image\.service:Painter is no service of"):
        serve("bowerbird.text_to_image.service:Painter", listener)
