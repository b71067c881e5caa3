"""An animation that is full, or dies under a clip: the clip is drawn elsewhere, or again, and nobody notices."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import httpx2
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from bowerbird.engine.bundle import Bundle
from bowerbird.errors import StageFull, error_body
from bowerbird.parts import CONTENT_TYPE

from ...engine.gated_backend import GatedBackend
from ...engine.tiny_bundle import Tiny, write_tiny_bundle
from ..conftest import until
from .conftest import MAX_FRAMES, AnimatingWith, GatewayBefore
from .test_videos import completed, content, create, ended, frames

SLOTS = 2
"""Of the animation in the fixtures."""
ROOT = Path(__file__).parents[4]


class Unlucky:
    """Says of the first clip that it is full, breaks off the second, and then draws."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.fates = ["full", "dies"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].endswith("/animate") or not self.fates:
            await self._app(scope, receive, send)
        elif self.fates.pop(0) == "full":
            await JSONResponse(error_body(StageFull("All slots are taken.")), 429)(scope, receive, send)
        else:
            headers = [(b"content-type", CONTENT_TYPE.encode())]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": b"", "more_body": True})


def test_a_clip_outlives_an_animation_that_is_full_and_one_that_dies(
    animator: Starlette, gateway_before: GatewayBefore, backend: GatedBackend, tmp_path: Path
) -> None:
    unlucky = Unlucky(animator)
    with gateway_before(unlucky, tmp_path, stage_poll_seconds=0.1) as client:
        video = completed(client)
        assert client.get(f"/v1/jobs/{video['id']}").json()["attempts"] == 1
        told = client.get("/metrics").text
    assert not unlucky.fates
    assert 'bowerbird_put_back_total{reason="full"} 1.0' in told
    assert 'bowerbird_put_back_total{reason="lost"} 1.0' in told


class Replaced:
    """Animation at an address where another one answers from some moment on."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


def test_a_clip_that_waits_while_the_model_is_replaced_is_planned_anew_and_drawn_once(
    animator: Starlette,
    animating: AnimatingWith,
    gateway_before: GatewayBefore,
    backend: GatedBackend,
    tmp_path: Path,
) -> None:
    tiny = Tiny(side=64, gain=0.08, motion=True, stills=False, encoder=True, shared_noise=0.96, max_frames=MAX_FRAMES)
    other = write_tiny_bundle(tmp_path / "other", tiny)
    successor = GatedBackend(gate_open=True)
    place = Replaced(animator)
    backend.gate_open = False
    with gateway_before(place, tmp_path / "home", stage_poll_seconds=0.1) as client:
        before = [create(client, seed=seed)["id"] for seed in range(SLOTS)]
        until(lambda: len(backend.begun) > 0 and all(phase(client, each) == "animate" for each in before))
        waits = create(client, seed=SLOTS)["id"]
        until(lambda: phase(client, waits) == "admit")
        place.app = animating(other, successor)
        until(lambda: client.get("/readyz").is_success)
        time.sleep(0.5)  # several looks: the gateway knows what draws now
        backend.gate_open = True
        backend.allowed.release(999)
        assert all(ended(client, each)["error"] is None for each in (*before, waits))
        passes = len(successor.begun)
        assert ended(client, create(client, seed=SLOTS + 1)["id"])["error"] is None
    assert len(successor.begun) == 2 * passes, "the one that waited was drawn as often as the one that came later"


def phase(client: httpx2.Client, video_id: str) -> str | None:
    """Where a clip is."""
    found: str | None = client.get(f"/v1/jobs/{video_id}").json()["phase"]
    return found


@contextmanager
def animating_process(bundle: Bundle) -> Iterator[tuple[str, IO[str]]]:
    """Its address, and what it says."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tests.unit.gateway.clips.animation_process", str(bundle.folder), str(port)]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'services'}{os.pathsep}{ROOT}"}
    with subprocess.Popen(
        command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{port}", process.stdout
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def test_a_clip_whose_animation_is_killed_is_drawn_again_once_from_its_seed_to_the_same_clip(
    animator: Starlette, gateway_before: GatewayBefore, moving: Bundle, tmp_path: Path
) -> None:
    with (
        animating_process(moving) as (url, said),
        gateway_before(animator, tmp_path, animation_url=url, stage_poll_seconds=0.1) as client,
    ):
        video_id = create(client)["id"]
        os.kill(int(said.readline()), signal.SIGKILL)
        assert ended(client, video_id)["error"] is None
        again = completed(client)["id"]
        assert client.get(f"/v1/jobs/{video_id}").json()["attempts"] == 1
        assert 'bowerbird_put_back_total{reason="lost"} 1.0' in client.get("/metrics").text
        assert frames(content(client, video_id).content) == frames(content(client, again).content)
