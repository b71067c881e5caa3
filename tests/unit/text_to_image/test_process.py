"""`bentoml serve` as `bowerbird up` runs it, drawing without torch."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from bowerbird.parts import Kind, PartReader

SERVICE = "bowerbird.text_to_image.service:TextToImage"
SERVICES = Path(__file__).parents[3] / "services"


@contextmanager
def served(bundle: Path, log: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """The process and its address; ended at the end, whatever happened."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "BOWERBIRD_MODEL": str(bundle),
        "BENTOML_DO_NOT_TRACK": "True",
        "PYTHONPATH": f"{without_training(log.parent)}{os.pathsep}{SERVICES}",
    }
    command = [sys.executable, "-m", "bentoml", "serve", SERVICE, "--port", str(port), "--host", "127.0.0.1"]
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output, start_new_session=True)
    try:
        yield process, f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def without_training(folder: Path) -> Path:
    """A folder that makes a path on which torch, diffusers and transformers are not to be had, as in the image."""
    absent = folder / "absent"
    absent.mkdir()
    for name in ("torch", "diffusers", "transformers"):
        (absent / f"{name}.py").write_text(f"raise ModuleNotFoundError('no {name} here', name='{name}')\n")
    return absent


def until_ready(address: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(1200):
        assert process.poll() is None
        if is_ready(address):
            return
        time.sleep(0.1)
    pytest.fail("the service did not become ready")


def is_ready(address: str) -> bool:
    try:
        return httpx.get(f"{address}/readyz", timeout=1).is_success
    except httpx.TransportError:
        return False


def test_a_served_bundle_draws_and_its_metrics_tell(tiny_folder: Path, tmp_path: Path) -> None:
    wanted = {"prompt": "a bird", "size": {"width": 16, "height": 16}, "steps": 2, "guidance_scale": 1, "seed": 1}
    with served(tiny_folder, tmp_path / "log") as (process, address):
        until_ready(address, process)
        drawn = httpx.post(f"{address}/draw", json=wanted | {"count": 1}, timeout=60)
        metrics = httpx.get(f"{address}/metrics", timeout=60).text
    kinds = [each.kind for each in PartReader().feed(drawn.content)]
    assert kinds == [Kind.PROGRESS, Kind.PROGRESS, Kind.PROGRESS, Kind.FRAMES, Kind.DONE]
    assert "bowerbird_steps_total 2.0" in metrics
    for phase in ("verify", "load", "warm_up"):
        assert f'bowerbird_cold_start_seconds_count{{phase="{phase}"}} 1.0' in metrics
