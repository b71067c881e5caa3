"""`POST /v1/images/generations` with gif and animated webp: the same job as a video, answered as pictures are."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from PIL import Image, ImageSequence
from starlette.applications import Starlette

from bowerbird.engine.bundle import Bundle

from ...engine.gated_backend import GatedBackend
from ..conftest import until
from ..leaving import leave_when
from .conftest import MINE, AnimatingWith, GatewayBefore
from .test_videos import ended, frames

MOVING: dict[str, Any] = {"prompt": "a small red bird", "seed": 7, "steps": 1}
KEYED = {"Idempotency-Key": "moving-1"}


def jobs(gateway: httpx2.Client) -> dict[str, str]:
    """The states of all jobs."""
    page = gateway.get("/v1/jobs", params={"limit": "100"}).json()
    assert not page["has_more"]
    return {job["id"]: job["status"] for job in page["data"]}


def nothing_is_computed(animator: Starlette) -> bool:
    return all(job.abandoned for job in [*animator.state.executor._jobs.values()])


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


@pytest.mark.parametrize("output_format", ["gif", "webp"])
def test_two_frames_that_would_strobe_for_ever_do_not_leave(
    output_format: str, flashing: Bundle, animating: AnimatingWith, gateway_before: GatewayBefore, tmp_path: Path
) -> None:
    fields = MOVING | {"output_format": output_format, "frame_count": 2, "frame_duration_ms": 42}
    with gateway_before(animating(flashing), tmp_path) as client:
        answer = client.post("/v1/images/generations", json=fields)
    assert answer.status_code == 400, answer.json()["bowerbird"]
    assert "flashing" in answer.json()["error"]["reasons"]


def test_too_many_frames_are_refused_in_the_fields_own_words(clips: httpx2.Client) -> None:
    fields = MOVING | {"output_format": "gif", "frame_count": 60, "frame_duration_ms": 125}
    answer = clips.post("/v1/images/generations", json=fields)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "frame_count")
    assert "up to 40 frames" in answer.json()["error"]["message"]


def test_who_hangs_up_on_a_plain_request_ends_its_job_and_the_denoiser(
    clips: httpx2.Client, animator: Starlette, backend: GatedBackend
) -> None:
    backend.gate_open = False
    before = jobs(clips)
    leave_when(lambda: bool(backend.begun), clips, **(MOVING | {"steps": 4, "output_format": "gif"}))
    until(lambda: nothing_is_computed(animator))
    backend.allowed.release(99)
    [ended_with_it] = jobs(clips).keys() - before.keys()
    assert jobs(clips)[ended_with_it] == "cancelled"
    assert len(backend.begun) == 1


def test_who_hangs_up_on_a_request_with_a_key_finds_its_clip_again(clips: httpx2.Client, backend: GatedBackend) -> None:
    backend.gate_open = False
    fields = MOVING | {"output_format": "gif"}
    before = jobs(clips)
    leave_when(lambda: bool(backend.begun), clips, KEYED, **fields)
    backend.allowed.release(99)
    assert clips.post("/v1/images/generations", json=fields, headers=KEYED).status_code == 200
    assert len(jobs(clips)) == len(before) + 1


def test_a_deadline_of_a_plain_request_leaves_one_job_which_is_cancelled(
    clips: httpx2.Client, animator: Starlette, backend: GatedBackend
) -> None:
    backend.gate_open = False
    before = jobs(clips)
    for milliseconds in (300, 3_000, 30_000):  # a slow machine does not come to the job within the first
        headers = {"Bowerbird-Deadline-Ms": str(milliseconds)}
        late = clips.post("/v1/images/generations", json=MOVING | {"output_format": "gif"}, headers=headers)
        assert (late.status_code, late.json()["error"]["code"]) == (503, "deadline_exceeded")
        assert "Idempotency-Key" not in late.json()["error"]["message"]
        if made := jobs(clips).keys() - before.keys():
            break
    assert [jobs(clips)[each] for each in made] == ["cancelled"]
    until(lambda: nothing_is_computed(animator))
