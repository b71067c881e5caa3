"""`/v1/videos` on a real socket, before the real animation, safety and curation."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from PIL import Image, ImageSequence
from starlette.applications import Starlette

from bowerbird.engine.bundle import Bundle
from bowerbird.engine.model.clip import ClipForm

from ...engine.gated_backend import GatedBackend
from ..conftest import until
from .conftest import MINE, THEIRS, AnimatingWith, GatewayBefore

VIDEO: dict[str, Any] = {
    "prompt": "a small red bird",
    "seconds": 2,
    "fps": 8,
    "format": "webp",
    "seed": 7,
    "steps": 2,
}
FRAMES = 16
STEPS = 2


def create(gateway: httpx2.Client, headers: dict[str, str] | None = None, **fields: Any) -> dict[str, Any]:
    answer = gateway.post("/v1/videos", json=VIDEO | fields, headers=headers)
    assert answer.status_code == 200, answer.text
    video: dict[str, Any] = answer.json()
    return video


def shown(gateway: httpx2.Client, video_id: str) -> dict[str, Any]:
    video: dict[str, Any] = gateway.get(f"/v1/videos/{video_id}").json()
    return video


def becomes(gateway: httpx2.Client, video_id: str, true: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The clip as soon as that is true of it."""
    for _ in range(2400):
        if true(video := shown(gateway, video_id)):
            return video
        time.sleep(0.05)
    raise AssertionError(f"the clip never became so: {video}")


def ended(gateway: httpx2.Client, video_id: str) -> dict[str, Any]:
    return becomes(gateway, video_id, lambda video: video["status"] in ("completed", "failed"))


def completed(gateway: httpx2.Client, **fields: Any) -> dict[str, Any]:
    video = ended(gateway, create(gateway, **fields)["id"])
    assert video["error"] is None
    return video


def content(gateway: httpx2.Client, video_id: str, **headers: str) -> httpx2.Response:
    return gateway.get(f"/v1/videos/{video_id}/content", headers=headers)


def frames(file: bytes) -> list[bytes]:
    with Image.open(io.BytesIO(file)) as opened:
        return [frame.convert("RGB").tobytes() for frame in ImageSequence.Iterator(opened)]


@pytest.fixture(scope="module")
def drawn_id(_clips: httpx2.Client) -> str:
    """A clip that several tests look at and none changes."""
    return str(completed(_clips)["id"])


@pytest.fixture(scope="module")
def drawn(_clips: httpx2.Client, drawn_id: str) -> bytes:
    """Its file."""
    return content(_clips, drawn_id).content


def test_a_clip_is_drawn_checked_judged_signed_and_kept(clips: httpx2.Client, moving: Bundle, drawn_id: str) -> None:
    assert moving.drawing.motion is not None
    video = shown(clips, drawn_id)
    assert (video["object"], video["seconds"], video["size"]) == ("video", "2", "64x64")
    assert (video["status"], video["progress"], video["error"]) == ("completed", 100, None)
    assert video["expires_at"] > video["completed_at"] >= video["created_at"]
    facts = video["bowerbird"]["facts"]
    assert facts["model_digest"] == moving.digest
    assert facts["clip"] == {"frames": FRAMES, "drawn_frames": FRAMES, "fps": 8, "duration_seconds": 2, "loop": False}
    assert {"prompt_match", "temporal_flickering"} <= {score["name"] for score in facts["images"][0]["scores"]}
    assert {"check_prompt", "animate", "judge", "check_clips", "publish"} <= facts["seconds"].keys()

    answer = content(clips, video["id"])
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/webp")
    assert len(set(frames(answer.content))) == FRAMES
    checked = clips.post("/v1/content_provenance_checks", files={"file": ("clip.webp", answer.content)}).json()
    assert "made_here_intact" in str(checked)
    assert clips.get(f"/v1/jobs/{video['id']}").json()["status"] == "succeeded"
    assert clips.get(f"/v1/jobs/{video['id']}/result").json()["output_format"] == "webp"


def test_frames_beyond_the_models_rate_are_interpolated_and_the_answer_says_so(clips: httpx2.Client) -> None:
    video = completed(clips, fps=24, format="gif", steps=1)
    clip = video["bowerbird"]["facts"]["clip"]
    assert (clip["frames"], clip["drawn_frames"], clip["duration_seconds"]) == (48, FRAMES, 2)
    with Image.open(io.BytesIO(content(clips, video["id"]).content)) as file:
        assert file.format == "GIF"
        assert sum(frame.info["duration"] for frame in ImageSequence.Iterator(file)) == 2000


@pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning")
def test_openais_client_creates_follows_lists_downloads_and_deletes(clips: httpx2.Client) -> None:
    url = str(clips.base_url).rstrip("/")
    with openai.OpenAI(api_key=MINE, base_url=f"{url}/v1", max_retries=0) as client:
        extra = {"fps": "8", "steps": "2", "seconds": "2"}  # our fields, and a length that its types do not know
        video = client.videos.create(prompt="a small red bird", extra_body=extra)
        ended(clips, video.id)
        video = client.videos.retrieve(video.id)
        assert (video.status, video.progress, video.seconds) == ("completed", 100, "2")
        file = client.videos.download_content(video.id).read()
        assert file[4:12] == b"ftypiso6"
        assert video.id in [each.id for each in client.videos.list(limit=2)]
        assert client.videos.delete(video.id).deleted
        with pytest.raises(openai.NotFoundError):
            client.videos.retrieve(video.id)


def test_progress_is_told_while_a_clip_is_drawn_and_deleting_it_stops_the_denoiser(
    clips: httpx2.Client, animator: Starlette, backend: GatedBackend, moving: Bundle
) -> None:
    backend.gate_open = False
    assert moving.drawing.motion is not None
    passes = len(ClipForm(moving.drawing.motion, FRAMES, FRAMES).windows)
    video_id = create(clips)["id"]
    until(lambda: len(backend.begun) == 1)
    assert shown(clips, video_id)["status"] == "in_progress"
    assert content(clips, video_id).json()["error"]["code"] == "job_not_finished"
    backend.allowed.release(passes)  # the first of two steps
    video = becomes(clips, video_id, lambda video: video["progress"] > 0)
    assert video["progress"] == 30
    until(lambda: len(backend.begun) == passes + 1)
    assert clips.delete(f"/v1/videos/{video_id}").json()["deleted"]
    assert clips.get(f"/v1/videos/{video_id}").status_code == 404
    until(lambda: all(job.abandoned for job in [*animator.state.executor._jobs.values()]))
    backend.allowed.release(99)
    completed(clips, seed=8)  # its slot is free again
    assert len(backend.begun) == passes + 1 + STEPS * passes


def test_a_gateway_that_dies_mid_clip_has_it_drawn_again_from_its_seed_to_the_same_clip(
    animator: Starlette, gateway_before: GatewayBefore, backend: GatedBackend, tmp_path: Path, drawn: bytes
) -> None:
    expected = frames(drawn)
    backend.begun.clear()
    backend.gate_open = False
    with gateway_before(animator, tmp_path) as client:
        video_id = create(client, candidates=2)["id"]
        until(lambda: bool(backend.begun))
    backend.gate_open = True
    backend.allowed.release(99)
    with gateway_before(animator, tmp_path) as client:
        [chosen] = ended(client, video_id)["bowerbird"]["facts"]["images"]
        assert chosen["seed"] == VIDEO["seed"] + chosen["candidate"]
        assert (frames(content(client, video_id).content) == expected) == (chosen["candidate"] == 0)
        assert client.get(f"/v1/jobs/{video_id}").json()["attempts"] == 2


def test_a_clip_that_flashes_does_not_leave(
    flashing: Bundle, animating: AnimatingWith, gateway_before: GatewayBefore, tmp_path: Path
) -> None:
    with gateway_before(animating(flashing), tmp_path) as client:
        video = ended(client, create(client)["id"])
        assert (video["status"], video["error"]["code"]) == ("failed", "image_blocked")
        answer = content(client, video["id"])
    assert answer.status_code == 400
    assert "flashing" in answer.json()["error"]["reasons"]


def test_where_nothing_moves_clips_are_501_and_pictures_are_not_concerned(
    animating: AnimatingWith, gateway_before: GatewayBefore, tmp_path: Path
) -> None:
    with gateway_before(animating(None), tmp_path) as client:
        answer = client.post("/v1/videos", json=VIDEO)
        assert client.get("/v1/models").status_code == 200
    assert (answer.status_code, answer.json()["error"]["code"]) == (501, "not_implemented")
    assert "no model that moves" in answer.json()["error"]["message"]


def test_ranges_of_a_clip(clips: httpx2.Client, drawn_id: str) -> None:
    video_id = drawn_id
    whole = content(clips, video_id)
    file, tag = whole.content, whole.headers["etag"]
    assert whole.headers["accept-ranges"] == "bytes"
    some = content(clips, video_id, range="bytes=10-19")
    assert (some.status_code, some.content) == (206, file[10:20])
    assert some.headers["content-range"] == f"bytes 10-19/{len(file)}"
    assert content(clips, video_id, range="bytes=-5").content == file[-5:]
    assert content(clips, video_id, range="bytes=100-").content == file[100:]
    assert content(clips, video_id, range="bytes=0-4", **{"if-range": tag}).status_code == 206
    assert content(clips, video_id, range="bytes=0-4", **{"if-range": '"another"'}).content == file
    beyond = content(clips, video_id, range=f"bytes={len(file)}-")
    assert (beyond.status_code, beyond.json()["error"]["code"]) == (416, "range_not_satisfiable")
    assert beyond.headers["content-range"] == f"bytes */{len(file)}"


@pytest.mark.parametrize(
    ("fields", "param", "says"),
    [
        ({"seconds": 1.9}, "seconds", "Accepted: 2 to 5"),
        ({"seconds": 8}, "seconds", "2 to 5 seconds long"),
        ({"fps": 7}, "fps", "Accepted: 8 to 24"),
        ({"fps": 25}, "fps", "Accepted: 8 to 24"),
        ({"format": "mov"}, "format", "'gif', 'webp' or 'mp4'"),
        ({"size": "128x128"}, "size", "Accepted: 'auto', '64x64'"),
        ({"steps": 9}, "steps", "Accepted: 1 to 8"),
        ({"candidates": 5}, "candidates", "less than or equal to 4"),
        ({"guidance_scale": 1, "negative_prompt": "rain"}, "negative_prompt", "no effect"),
        ({"model": "another"}, "model", "'tiny'"),
        ({"lora": []}, "lora", "/v1/images/generations"),
        ({"colour": "red"}, "colour", "Unknown field"),
        ({"prompt": " "}, "prompt", "not all of them spaces"),
    ],
)
def test_what_cannot_be_drawn_is_refused_by_name_before_anything_is_asked(
    clips: httpx2.Client, fields: dict[str, Any], param: str, says: str
) -> None:
    answer = clips.post("/v1/videos", json=VIDEO | fields)
    assert 400 <= answer.status_code < 500, answer.text
    error = answer.json()["error"]
    assert error["param"] == param
    assert says in error["message"]
    assert "small red" not in answer.text


@pytest.mark.parametrize(
    ("fields", "longest"),
    [
        ({"seconds": 5, "fps": 24, "candidates": 2}, "up to 2.7 s at 24 frames a second"),
        ({"seconds": 4, "fps": 16, "candidates": 4}, "up to 2 s at 16 frames a second"),
    ],
)
def test_a_clip_beyond_the_budget_is_refused_with_the_longest_that_is_accepted(
    clips: httpx2.Client, fields: dict[str, Any], longest: str
) -> None:
    answer = clips.post("/v1/videos", json=VIDEO | fields)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "seconds")
    assert longest in answer.json()["error"]["message"]


def test_a_form_is_read_as_openais_client_sends_it_and_what_it_says_wrongly_is_refused_by_name(
    clips: httpx2.Client, backend: GatedBackend
) -> None:
    backend.gate_open = False
    fields = {name: str(value) for name, value in VIDEO.items()}
    refused = clips.post("/v1/videos", data=fields, files={"seed": ("seed.txt", b"7", "text/plain")})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "seed")
    files = [(name, (None, value)) for name, value in fields.items()]
    taken = clips.post("/v1/videos", files=files).json()
    assert taken["seconds"] == "2"
    clips.delete(f"/v1/videos/{taken['id']}")
    twice = clips.post("/v1/videos", files=[*files, ("seed", (None, "8"))])
    assert (twice.status_code, twice.json()["error"]["param"]) == (400, "seed")
    wrong = clips.post("/v1/videos", files=[*files[:1], ("seconds", (None, "soon"))])
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "seconds")


def test_a_key_names_one_clip(clips: httpx2.Client, backend: GatedBackend) -> None:
    backend.gate_open = False
    keyed = {"Idempotency-Key": "clip-1"}
    first, again = create(clips, keyed), create(clips, keyed)
    assert first["id"] == again["id"]
    other = clips.post("/v1/videos", json=VIDEO | {"seed": 8}, headers=keyed)
    assert (other.status_code, other.json()["error"]["code"]) == (422, "idempotency_key_reused")
    clips.delete(f"/v1/videos/{first['id']}")


def test_clips_are_listed_page_by_page_from_either_end_and_only_to_their_tenant(
    clips: httpx2.Client, backend: GatedBackend
) -> None:
    backend.gate_open = False
    made = [create(clips, seed=seed)["id"] for seed in range(3)]
    found: list[str] = []
    page: dict[str, Any] = {"has_more": True, "last_id": None}
    while page["has_more"] and len(found) < 3:
        after = {"after": page["last_id"]} if page["last_id"] else {}
        page = clips.get("/v1/videos", params={"limit": "2", **after}).json()
        found += [each["id"] for each in page["data"]]
    assert set(made) <= set(found)
    oldest = clips.get("/v1/videos", params={"order": "asc", "limit": "100"}).json()["data"]
    assert [each["created_at"] for each in oldest] == sorted(each["created_at"] for each in oldest)
    theirs = {"Authorization": f"Bearer {THEIRS}"}
    assert clips.get("/v1/videos", headers=theirs).json()["data"] == []
    assert clips.get(f"/v1/videos/{made[0]}", headers=theirs).status_code == 404
    assert clips.get("/v1/videos", params={"after": made[0]}, headers=theirs).status_code == 400
    for each in made:
        clips.delete(f"/v1/videos/{each}")


def test_a_prompt_that_the_model_does_not_read_whole_leaves_no_clip(clips: httpx2.Client) -> None:
    before = clips.get("/v1/videos", params={"limit": "1"}).json()["first_id"]
    for field in ("prompt", "negative_prompt"):
        answer = clips.post("/v1/videos", json=VIDEO | {"guidance_scale": 2, field: "a small red bird " * 20})
        error = answer.json()["error"]
        assert (answer.status_code, error["code"], error["param"]) == (400, "prompt_too_long", field)
        assert error["tokens"] > error["max_tokens"]
        assert "small red" not in answer.text
    assert clips.get("/v1/videos", params={"limit": "1"}).json()["first_id"] == before


def test_a_prompt_that_safety_refuses_leaves_no_clip(clips: httpx2.Client) -> None:
    before = clips.get("/v1/videos", params={"limit": "1"}).json()["first_id"]
    answer = clips.post("/v1/videos", json=VIDEO | {"prompt": "how to build a pipe bomb"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "moderation_blocked")
    assert clips.get("/v1/videos", params={"limit": "1"}).json()["first_id"] == before
