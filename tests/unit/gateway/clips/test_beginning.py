"""A clip that begins with a picture, before the real animation, safety and curation."""

from __future__ import annotations

import io
import json
import zlib
from pathlib import Path

import httpx2
import numpy as np
import pytest
from PIL import Image

from bowerbird.engine.bundle import MANIFEST, Bundle

from ...engine.gated_backend import GatedBackend
from ...engine.tiny_bundle import Tiny, write_tiny_bundle
from .conftest import AnimatingWith, GatewayBefore
from .test_videos import VIDEO, content, ended, frames

SLOPE = np.linspace(60, 200, 80 * 60 * 3).reshape(60, 80, 3).astype(np.uint8)


def png(pixels: np.ndarray = SLOPE) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def begun_with(gateway: httpx2.Client, picture: bytes, **fields: object) -> str:
    asked = {name: str(value) for name, value in (VIDEO | {"steps": 4} | fields).items()}
    answer = gateway.post("/v1/videos", data=asked, files={"input_reference": ("slope.png", picture)})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


def completed(gateway: httpx2.Client, video_id: str) -> bytes:
    assert ended(gateway, video_id)["error"] is None
    return content(gateway, video_id).content


def test_the_first_frame_is_the_picture_whatever_the_seed_and_the_others_go_on_from_it(clips: httpx2.Client) -> None:
    files = [completed(clips, begun_with(clips, png(), seed=seed, quality=100)) for seed in (7, 8, 7)]
    first, second, again = map(frames, files)
    assert first == again
    a, b = (np.frombuffer(each[0], np.uint8).astype(int) for each in (first, second))
    assert np.abs(a - b).mean() < 2 < np.abs(a - np.frombuffer(second[-1], np.uint8)).mean()
    assert first[-1] != second[-1]
    told = clips.post("/v1/content_provenance_checks", files={"file": ("clip.webp", files[0])}).json()
    assert "made_here_intact" in str(told)
    assert "compositeWithTrainedAlgorithmicMedia" in str(told)


def huge() -> bytes:
    """A PNG of a few bytes that states 60 000 x 60 000 pixels."""
    small = png(SLOPE[:1, :1])
    header = small[12:16] + (60_000).to_bytes(4, "big") * 2 + small[24:29]
    return small[:12] + header + zlib.crc32(header).to_bytes(4, "big") + small[33:]


@pytest.mark.parametrize(
    ("picture", "says"),
    [
        (b"not a picture at all", "Accepted: one picture that is a PNG, JPEG or WebP"),
        (png()[:200], "Accepted: one picture that is a PNG, JPEG or WebP"),
        (b"GIF89a" + bytes(100), "Accepted: one picture that is a PNG, JPEG or WebP"),
        (huge(), "Accepted: up to 16777216 pixels"),
    ],
    ids=["text", "half", "gif", "huge"],
)
def test_what_is_no_picture_or_too_large_is_refused_before_any_model_is_asked(
    clips: httpx2.Client, backend: GatedBackend, picture: bytes, says: str
) -> None:
    answer = clips.post("/v1/videos", data={"prompt": "a bird"}, files={"input_reference": ("a.png", picture)})
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, "input_reference")
    assert error["message"].startswith("input_reference: ")
    assert says in error["message"]
    assert not backend.begun


def told_a_picture(folder: Path) -> Bundle:
    """One whose clips are told a picture and no prompt, and are two seconds long."""
    made = write_tiny_bundle(folder, Tiny(side=64, image=True))
    manifest = json.loads((folder / MANIFEST).read_bytes())
    manifest["drawing"]["motion"]["frames_per_second"] = made.drawing.motion.window / 2 if made.drawing.motion else 0
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return Bundle.open(folder)


def test_a_model_that_is_told_a_picture_alone_draws_what_becomes_of_it(
    animating: AnimatingWith, gateway_before: GatewayBefore, tmp_path: Path
) -> None:
    animator = animating(told_a_picture(tmp_path / "video"))
    with gateway_before(animator, tmp_path / "home") as client:
        without = client.post("/v1/videos", json=VIDEO).json()["error"]
        assert (without["param"], "is required" in without["message"]) == ("input_reference", True)
        for fields in ({"loop": "true"}, {"strength": "0.5"}, {"negative_prompt": "rain", "guidance_scale": "2"}):
            asked = {"prompt": "a bird", "seconds": "2", "fps": "8", **fields}
            refused = client.post("/v1/videos", data=asked, files={"input_reference": ("a.png", png())})
            assert (refused.status_code, refused.json()["error"]["param"]) == (400, next(iter(fields)))
        video_id = begun_with(client, png())
        assert len(frames(completed(client, video_id))) == 16
        shown = client.get(f"/v1/videos/{video_id}").json()["bowerbird"]
        assert (shown["strength"], shown["facts"]["clip"]["drawn_frames"]) == (1, 4)
