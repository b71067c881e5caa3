"""`bowerbird draw … --seconds` and the client, before a gateway that draws clips."""

from __future__ import annotations

import json
from pathlib import Path

import httpx2
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from bowerbird.cli import app
from bowerbird.client import AsyncClient, Client
from bowerbird.client.jobs import JobEvent
from bowerbird.errors import RequestInvalid

from ...engine.gated_backend import GatedBackend
from .conftest import MINE
from .test_beginning import png


def draw(gateway: httpx2.Client, *arguments: str) -> Result:
    told = ["--url", str(gateway.base_url), "--key", MINE, "--steps", "1", "--seed", "7"]
    return CliRunner().invoke(app, ["draw", "a small red bird", *told, *arguments])


def test_a_clip_is_written_and_told_of(clips: httpx2.Client, tmp_path: Path) -> None:
    output = tmp_path / "new" / "bird.webp"
    drawn = draw(clips, "--seconds", "2", "--fps", "8", "-o", str(output), "--json")
    assert drawn.exit_code == 0, drawn.stderr
    [clip] = json.loads(drawn.stdout)["clips"]
    assert (clip["path"], clip["seed"], clip["frames"]) == (str(output), 7, 16)
    with Image.open(output) as file:
        assert getattr(file, "n_frames", 1) == 16


def test_a_clip_begins_with_a_picture(clips: httpx2.Client, tmp_path: Path) -> None:
    picture, output = tmp_path / "first.png", tmp_path / "bird.webp"
    picture.write_bytes(png())
    drawn = draw(clips, "--from", str(picture), "--seconds", "2", "--fps", "8", "-o", str(output))
    assert drawn.exit_code == 0, drawn.stderr
    newest = clips.get("/v1/videos", params={"limit": "1"}).json()["data"][0]
    assert newest["bowerbird"]["strength"] == 1  # of one step
    assert draw(clips, "--from", str(tmp_path / "nothing.png"), "-o", str(output)).exit_code == 2
    assert draw(clips, "--from", str(output), "-o", str(tmp_path / "x.mp4")).exit_code == 3  # it moves


def test_what_a_clip_is_not_is_refused_by_name(clips: httpx2.Client, tmp_path: Path) -> None:
    for arguments, says in (
        (("--seconds", "3", "-o", "bird.png"), "'bird.png' does not end in one of .mp4, .webp, .gif"),
        (("--n", "2", "-o", str(tmp_path / "bird.mp4")), "'n'"),
        (("--seconds", "9", "-o", str(tmp_path / "bird.mp4")), "2 to 5"),
    ):
        refused = draw(clips, *arguments)
        assert refused.exit_code == 3
        assert says in refused.stderr
    assert not list(tmp_path.iterdir())


class GaveUpError(Exception):
    """Whoever waited does not wait any more."""


def give_up(_: JobEvent) -> None:
    raise GaveUpError


def test_who_gives_up_leaves_no_clip(clips: httpx2.Client, backend: GatedBackend) -> None:
    backend.gate_open = False
    before = clips.get("/v1/videos").json()["data"]
    with Client(str(clips.base_url), MINE) as client, pytest.raises(GaveUpError):
        client.animate("a small red bird", on_progress=give_up, seconds=2, fps=8, steps=1)
    assert clips.get("/v1/videos").json()["data"] == before


async def test_the_awaited_client_says_what_is_wrong(clips: httpx2.Client) -> None:
    async with AsyncClient(str(clips.base_url), MINE) as client:
        with pytest.raises(RequestInvalid, match="2 to 5"):
            await client.animate("a small red bird", seconds=9)
        page = await client.videos.list(limit=1)
    assert len(page.items) <= 1
