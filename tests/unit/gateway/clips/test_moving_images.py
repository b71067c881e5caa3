"""`POST /v1/images/generations` with gif and animated webp: the same job as a video, answered as pictures are."""

from __future__ import annotations

import base64
import io
from typing import Any

import httpx2
import openai
from PIL import Image, ImageSequence

from .conftest import MINE
from .test_videos import ended, frames

MOVING: dict[str, Any] = {"prompt": "a small red bird", "seed": 7, "steps": 1}


def durations(file: bytes) -> list[int]:
    with Image.open(io.BytesIO(file)) as opened:
        return [frame.info["duration"] for frame in ImageSequence.Iterator(opened)]


def test_openais_client_draws_a_gif(clips: httpx2.Client) -> None:
    url = str(clips.base_url).rstrip("/")
    with openai.OpenAI(api_key=MINE, base_url=f"{url}/v1", max_retries=0) as client:
        answer = client.images.generate(
            prompt="a small red bird",
            output_format="gif",
            frame_count=12,
            frame_duration_ms=120,
            extra_body={"steps": 1, "seed": 7},
        )
    assert answer.output_format == "gif"
    assert answer.data
    assert durations(base64.b64decode(answer.data[0].b64_json or "")) == [120] * 12


def test_a_webp_with_frames_moves_and_is_a_video_too(clips: httpx2.Client) -> None:
    fields = MOVING | {"output_format": "webp", "frame_count": 8, "frame_duration_ms": 125, "output_compression": 60}
    accepted = clips.post("/v1/images/generations", json=fields, headers={"Prefer": "respond-async"})
    assert accepted.status_code == 202
    video = ended(clips, accepted.json()["id"])
    assert (video["status"], video["seconds"], video["bowerbird"]["format"]) == ("completed", "1", "webp")
    answer = clips.get(f"/v1/jobs/{video['id']}/result").json()
    assert answer["bowerbird"]["clip"] == {
        **{"frames": 8, "drawn_frames": 8, "fps": 8, "duration_seconds": 1, "loop": False},
    }
    assert len(frames(base64.b64decode(answer["data"][0]["b64_json"]))) == 8


def test_a_gif_slower_than_the_model_draws_leaves_frames_out_and_says_so(clips: httpx2.Client) -> None:
    answer = clips.post("/v1/images/generations", json=MOVING | {"output_format": "gif"}).json()  # OpenAI's 9 of 200 ms
    clip = answer["bowerbird"]["clip"]
    assert (clip["frames"], clip["drawn_frames"], clip["duration_seconds"]) == (9, 14, 1.8)
    assert durations(base64.b64decode(answer["data"][0]["b64_json"])) == [200] * 9


def test_too_many_frames_are_refused_in_the_fields_own_words(clips: httpx2.Client) -> None:
    fields = MOVING | {"output_format": "gif", "frame_count": 60, "frame_duration_ms": 125}
    answer = clips.post("/v1/images/generations", json=fields)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "frame_count")
    assert "up to 40 frames" in answer.json()["error"]["message"]
