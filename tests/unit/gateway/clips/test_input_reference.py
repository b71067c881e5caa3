"""`input_reference`: a clip begins with a picture, which is looked at before it is kept, and goes with the clip."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from starlette.responses import JSONResponse, Response, StreamingResponse

from bowerbird.client import Client
from bowerbird.contracts import MAX_FILE_BYTES
from bowerbird.errors import BowerbirdError, RequestInvalid, StageUnavailable, StorageFull
from bowerbird.gateway.clips.plan import USUAL_STRENGTH

from ..clip_stand_ins import clip_frame
from ..conftest import GatewayIn, until
from ..identity.gateways import ADMIN, Administrator, bearer
from ..jobs.submitting import ended
from ..stand_ins import StandIns, verdicts

VIDEOS = "/v1/videos"
BIRD, OTHER = b"the only bird of its kind", b"another bird"
ASKED = {"prompt": "a small red bird", "seconds": "2", "fps": "8", "seed": "7"}
FRAMES = 16
CLIP = BIRD + b"".join(clip_frame(7, index, b"frame of " + BIRD) for index in range(FRAMES))
"""What the stand-ins make of it: the file that the label has as its ingredient, and frames that began with it."""
SECRET = "zzsecretzz"


def data_url(content: bytes, media_type: str = "image/png") -> str:
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


def create(
    gateway: httpx2.Client, picture: bytes = BIRD, headers: dict[str, str] | None = None, **fields: str
) -> httpx2.Response:
    """The answer to a form, as OpenAI's client sends it."""
    return gateway.post(
        VIDEOS, data={**ASKED, **fields}, files={"input_reference": ("robin.png", picture)}, headers=headers
    )


def accepted(gateway: httpx2.Client, picture: bytes = BIRD, **fields: str) -> str:
    answer = create(gateway, picture, None, **fields)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


def drawn(gateway: httpx2.Client, video_id: str) -> bytes:
    assert ended(gateway, video_id)["error"] is None
    return gateway.get(f"{VIDEOS}/{video_id}/content").content


def uploads_in(home: Path) -> list[Path]:
    """The files of pictures that jobs begin with."""
    return list((home / "pictures" / "jobs").rglob("upload"))


def kept_in(home: Path) -> set[bytes]:
    """The bytes of every file that jobs have."""
    return {file.read_bytes() for file in (home / "pictures" / "jobs").rglob("*") if file.is_file()}


def test_it_is_opened_looked_at_drawn_from_and_goes_into_the_label(gateway: httpx2.Client, stages: StandIns) -> None:
    video_id = accepted(gateway, strength="0.5")
    assert [each.path for each in stages.seen[:3]] == ["/check_prompt", "/open", "/check_images"]
    assert (stages.seen[1].files, stages.seen[1].asked.masked) == ([BIRD], False)
    assert drawn(gateway, video_id) == CLIP
    assert gateway.get(f"{VIDEOS}/{video_id}").json()["bowerbird"]["strength"] == 0.5


@pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning")
def test_openais_client_sends_a_file(gateway: httpx2.Client) -> None:
    url = str(gateway.base_url).rstrip("/")
    with openai.OpenAI(api_key="any", base_url=f"{url}/v1", max_retries=0) as client:
        extra = {name: ASKED[name] for name in ("seconds", "fps", "seed")}
        video = client.videos.create(
            prompt=ASKED["prompt"], input_reference=("robin.png", BIRD, "image/png"), extra_body=extra
        )
        assert ended(gateway, video.id)["error"] is None
        assert client.videos.download_content(video.id).read() == CLIP


@pytest.mark.parametrize("reference", [data_url(BIRD), {"image_url": data_url(BIRD)}], ids=["url", "image_url"])
def test_a_data_url_is_a_picture_too(gateway: httpx2.Client, reference: Any) -> None:
    fields = {**ASKED, "seconds": 2, "fps": 8, "seed": 7, "input_reference": reference}
    assert drawn(gateway, gateway.post(VIDEOS, json=fields).json()["id"]) == CLIP


def test_a_form_may_hold_a_data_url(gateway: httpx2.Client) -> None:
    for name in ("input_reference", "input_reference[image_url]"):
        answer = gateway.post(
            VIDEOS, files=[(key, (None, text)) for key, text in {**ASKED, name: data_url(BIRD)}.items()]
        )
        assert drawn(gateway, answer.json()["id"]) == CLIP


def test_our_client_begins_a_clip_with_a_picture(gateway: httpx2.Client) -> None:
    with Client(str(gateway.base_url)) as client:
        clip = client.animate(
            ASKED["prompt"], input_reference=("robin.png", BIRD), seconds=2, fps=8, seed=7, loop=False, strength=0.9
        )
    assert clip.content == CLIP
    assert clip.video.bowerbird["strength"] == 0.9


@pytest.mark.parametrize(("steps", "strength"), [("20", USUAL_STRENGTH), ("1", 1.0)])
def test_where_nothing_is_said_it_has_room_to_move_and_at_least_a_step(
    gateway: httpx2.Client, steps: str, strength: float
) -> None:
    video = create(gateway, steps=steps).json()
    assert video["bowerbird"]["strength"] == strength
    gateway.delete(f"{VIDEOS}/{video['id']}")


def test_a_picture_that_safety_refuses_is_drawn_from_by_nobody_and_not_kept(
    gateway_in: GatewayIn, stages: StandIns, tmp_path: Path
) -> None:
    stages.behaviour.verdicts = lambda count: verdicts(count, frozenset({0}))
    with gateway_in(tmp_path) as gateway:
        answer = create(gateway)
        error = answer.json()["error"]
        assert (answer.status_code, error["code"], error["param"]) == (400, "image_blocked", "input_reference")
        assert "begin with this picture" in error["message"]
        assert gateway.get(VIDEOS).json()["data"] == []
    assert not (tmp_path / "pictures" / "jobs").exists()


def test_what_curation_says_of_a_file_is_said_in_the_callers_own_words(
    gateway: httpx2.Client, stages: StandIns
) -> None:
    stages.behaviour.answers["/open"] = lambda: RequestInvalid("image: what was sent is no picture.", param="image")
    error = create(gateway).json()["error"]
    assert (error["param"], error["message"]) == ("input_reference", "input_reference: what was sent is no picture.")
    stages.behaviour.answers["/open"] = lambda: RequestInvalid("The body holds no parts.")
    assert create(gateway).json()["error"]["param"] is None


WRONG: list[tuple[Any, str]] = [
    ({"file_id": "file-1"}, "lines of batches"),
    ({"image_url": data_url(BIRD), "file_id": "file-1"}, "lines of batches"),
    ({"image_url": f"https://{SECRET}.example/robin.png"}, "nothing is fetched"),
    ({"image_url": 7}, "a data URL"),
    ({}, "a data URL"),
    (f"https://{SECRET}.example/robin.png", "nothing is fetched"),
    (f"{SECRET}.png", "a data URL"),
    (f"data:image/png,{SECRET}", "a data URL"),
    (f"data:image/png;base64,{SECRET}!", "no base64"),
    ("data:image/png;base64,", "empty"),
    (7, "a data URL"),
    ([data_url(BIRD)], "a data URL"),
    (data_url(bytes(MAX_FILE_BYTES + 1)), f"up to {MAX_FILE_BYTES}"),
]


@pytest.mark.parametrize(("reference", "says"), WRONG, ids=[f"{each[0]}"[:40] for each in WRONG])
def test_what_is_no_picture_is_refused_by_name_before_anything_is_asked(
    gateway: httpx2.Client, stages: StandIns, reference: Any, says: str
) -> None:
    fields = {"prompt": f"a {SECRET} bird", "seconds": 2, "input_reference": reference}
    answer = gateway.post(VIDEOS, json=fields)
    error = answer.json()["error"]
    assert (answer.status_code, error["type"], error["param"]) == (400, "invalid_request_error", "input_reference")
    assert says in error["message"]
    assert SECRET not in answer.text
    assert not stages.seen


BAD_FORMS: list[tuple[list[tuple[str, Any]], str]] = [
    ([("input_reference", ("a.png", b""))], "input_reference"),
    ([("input_reference", ("a.png", bytes(MAX_FILE_BYTES + 1)))], "input_reference"),
    ([("input_reference", ("a.png", BIRD)), ("input_reference", (None, data_url(BIRD)))], "input_reference"),
    ([("input_reference[file_id]", (None, "file-1"))], "input_reference"),
    ([("input_reference[url]", (None, "x"))], "input_reference[url]"),
    ([("mask", ("a.png", BIRD))], "mask"),
    ([("input_reference", ("a.png", BIRD)), ("strength", (None, "0"))], "strength"),
    ([("input_reference", ("a.png", BIRD)), ("strength", (None, "0.04")), ("steps", (None, "20"))], "strength"),
    ([("strength", (None, "0.5"))], "strength"),
]


@pytest.mark.parametrize(("parts", "param"), BAD_FORMS, ids=[str([part[0] for part in each[0]]) for each in BAD_FORMS])
def test_a_form_that_says_it_wrongly_is_refused_by_name(
    gateway: httpx2.Client, stages: StandIns, parts: list[tuple[str, Any]], param: str
) -> None:
    answer = gateway.post(VIDEOS, files=[("prompt", (None, "a bird")), *parts])
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert not stages.seen


def test_a_key_stands_for_the_pictures_bytes_as_well(gateway_in: GatewayIn, tmp_path: Path) -> None:
    keyed = {"Idempotency-Key": "clip-1"}
    with gateway_in(tmp_path) as gateway:
        first, again = (create(gateway, headers=keyed).json()["id"] for _ in range(2))
        assert first == again
        other = create(gateway, OTHER, headers=keyed)
        assert (other.status_code, other.json()["error"]["code"]) == (422, "idempotency_key_reused")
        drawn(gateway, first)
        assert kept_in(tmp_path) == {BIRD, CLIP}


def test_two_requests_at_once_under_one_key_leave_one_clip_and_one_picture(
    gateway_in: GatewayIn, stages: StandIns, tmp_path: Path
) -> None:
    async def once_both_ask() -> AsyncIterator[str]:
        while len(stages.asked("/check_images")) < 2:  # noqa: ASYNC110 - so both have asked what the key stands for
            await asyncio.sleep(0.01)
        yield verdicts(1).model_dump_json()

    stages.behaviour.answers["/check_images"] = lambda: StreamingResponse(
        once_both_ask(), media_type="application/json"
    )
    with gateway_in(tmp_path) as gateway, ThreadPoolExecutor(2) as pool:
        keyed = {"Idempotency-Key": "clip-2"}
        answers = list(pool.map(lambda picture: create(gateway, picture, keyed), (BIRD, OTHER)))
        [first] = [each.json()["id"] for each in answers if each.status_code == 200]
        [other] = [each.json()["error"]["code"] for each in answers if each.status_code != 200]
        assert other == "idempotency_key_reused"
        assert [each["id"] for each in gateway.get(VIDEOS).json()["data"]] == [first]
        assert [each.parent.name for each in uploads_in(tmp_path)] == [first]


def test_what_there_is_no_room_for_is_not_charged_and_what_is_beyond_the_minute_is_not_kept(
    gateway_in: GatewayIn, tmp_path: Path
) -> None:
    tiers = tmp_path / "tiers.toml"
    tiers.write_text("[some]\ncompute_units_per_minute = 60\n")
    changes = {"tenant_file_bytes": len(BIRD), "admin_keys": frozenset({ADMIN}), "tiers": tiers}
    with gateway_in(tmp_path, **changes) as gateway:
        admin = Administrator(gateway)
        headers = bearer(admin.key(admin.tenant("birds", tier="some")))
        full = create(gateway, BIRD + OTHER, headers, steps="20")
        assert (full.status_code, full.json()["error"]["code"]) == (StorageFull.status, "storage_full")
        assert '"compute-units-per-minute";r=60;' in full.headers["ratelimit"]
        accepted_ids = set()
        while (answer := create(gateway, BIRD[:1], headers, steps="20")).status_code == 200:
            accepted_ids.add(answer.json()["id"])
        assert (answer.status_code, answer.json()["error"]["code"]) == (429, "rate_limit_exceeded")
        assert {each.parent.name for each in uploads_in(tmp_path)} == accepted_ids


def test_it_counts_in_what_the_tenant_stores_and_goes_with_its_clip(gateway_in: GatewayIn, tmp_path: Path) -> None:
    with gateway_in(tmp_path, tenant_file_bytes=len(BIRD) + 1) as gateway:
        video_id = accepted(gateway)
        full = create(gateway, OTHER)
        assert (full.status_code, full.json()["error"]["code"]) == (StorageFull.status, "storage_full")
        drawn(gateway, video_id)
        assert gateway.delete(f"{VIDEOS}/{video_id}").json()["deleted"]
        assert not (tmp_path / "pictures" / "jobs").exists()
        accepted(gateway, OTHER)


def test_a_gateway_that_dies_has_the_same_clip_drawn_from_seed_and_picture(
    gateway_in: GatewayIn, stages: StandIns, tmp_path: Path
) -> None:
    def seen_once() -> Response | BowerbirdError:
        first = len(stages.asked("/check_images")) == 1
        return JSONResponse(verdicts(1).model_dump()) if first else StageUnavailable("It is down.")

    with gateway_in(tmp_path) as gateway:
        stages.behaviour.answers["/check_images"] = seen_once
        video_id = accepted(gateway)
        until(lambda: len(stages.asked("/check_images")) > 1)  # it is to be drawn, and cannot be
    stages.behaviour.answers.clear()
    with gateway_in(tmp_path) as gateway:
        assert drawn(gateway, video_id) == CLIP
