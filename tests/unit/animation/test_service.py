"""The routes through an ASGI transport: what is said before the stream begins, and what the stream says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from starlette.applications import Starlette
from starlette.datastructures import State

from bowerbird.animation import service
from bowerbird.animation.service import Animation, moving
from bowerbird.contracts import (
    DEADLINE_HEADER,
    GRANT_HEADER,
    AnimateRequest,
    Beginning,
    DrawDone,
    DrawProgress,
    FrameFacts,
    MotionDescription,
    PreviewFacts,
)
from bowerbird.engine.bundle import Bundle
from bowerbird.frames import frames_of, npy
from bowerbird.parts import CONTENT_TYPE, Kind, Part, body_of, part, read_parts

from ..engine.gated_backend import GatedBackend
from ..engine.tiny_bundle import MAX_FRAMES, OVERLAP, WINDOW, write_tiny_bundle

ANIMATE: dict[str, Any] = {
    "prompt": "a small red bird",
    "size": {"width": 16, "height": 16},
    "steps": 3,
    "guidance_scale": 2,
    "seed": 7,
    "frames": 6,
}
PASSES = 2
"""Windows of six frames: 0 to 3 and 2 to 5."""


@pytest.fixture
async def client(app_of: Callable[..., Starlette], moving_folder: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(app_of(moving_folder)) as client:
        yield client


def client_of(app: Starlette) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service")


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not true():  # noqa: ASYNC110 - the thread has no event for tests
            await asyncio.sleep(0.002)


async def parts_of(response: httpx.Response) -> list[Part]:
    return [each async for each in read_parts(response.aiter_bytes())]


async def test_clips_are_progress_then_their_frames_in_order_then_done(
    client: httpx.AsyncClient, moving_folder: Path
) -> None:
    response = await client.post("/animate", json=ANIMATE | {"count": 2})
    assert (response.status_code, response.headers["content-type"]) == (200, CONTENT_TYPE)
    parts = await parts_of(response)
    steps = [Kind.PROGRESS] * 3
    frames = [Kind.FRAMES] * 6
    assert [each.kind for each in parts] == [Kind.PROGRESS, *steps, *frames, *steps, *frames, Kind.DONE]
    progress = [each.read(DrawProgress) for each in parts if each.kind is Kind.PROGRESS]
    assert [(each.step, each.finished, each.count) for each in progress] == [
        (0, 0, 12),
        *((step, finished, 12) for finished in (0, 6) for step in (1, 2, 3)),
    ]
    facts = [FrameFacts.model_validate(each.facts) for each in parts if each.kind is Kind.FRAMES]
    assert [(each.index, each.seed) for each in facts] == [(index, 7 + index // 6) for index in range(12)]
    done = parts[-1].read(DrawDone)
    assert done.digest == Bundle.open(moving_folder).digest
    assert done.seeds == [7, 8]
    assert done.steps_computed == 2 * 3 * 6
    assert set(done.seconds) == {"queue", "encode_text", "denoise", "decode"}


async def test_whether_a_prompt_is_read_whole_is_said_without_drawing(client: httpx.AsyncClient) -> None:
    assert (await client.post("/read_prompt", json={"prompt": "a small red bird"})).status_code == 200
    for field in ("prompt", "negative_prompt"):
        asked = {"prompt": "a bird", field: "bird " * 200}
        answer = await client.post("/read_prompt", json=asked)
        error = answer.json()["error"]
        assert (answer.status_code, error["code"], error["param"]) == (400, "prompt_too_long", field)


async def test_the_same_request_draws_the_same_frames_and_they_move(client: httpx.AsyncClient) -> None:
    once, again = [await parts_of(await client.post("/animate", json=ANIMATE)) for _ in range(2)]
    frames, same = [[each.body for each in parts if each.kind is Kind.FRAMES] for parts in (once, again)]
    assert frames == same
    assert frames_of(frames[0]).shape == (1, 16, 16, 3)
    assert len(set(frames)) == len(frames)


async def test_previews_are_of_clips(client: httpx.AsyncClient) -> None:
    parts = await parts_of(await client.post("/animate", json=ANIMATE | {"count": 2, "preview_steps": 2}))
    facts = [PreviewFacts.model_validate(each.facts) for each in parts if each.kind is Kind.PREVIEW]
    assert [(each.index, each.step) for each in facts] == [(0, 2), (1, 2)]


async def test_a_clip_may_begin_with_a_picture(client: httpx.AsyncClient) -> None:
    asked = AnimateRequest.model_validate(ANIMATE | {"beginning": Beginning(strength=0.7)})
    headers = {"Content-Type": CONTENT_TYPE}
    answers = []
    for grey in (0, 255):
        picture = part(Kind.FRAMES, npy(np.full((1, 16, 16, 3), grey, np.uint8)))
        response = await client.post("/animate", content=body_of(asked, picture), headers=headers)
        answers.append([each.body for each in await parts_of(response) if each.kind is Kind.FRAMES])
    assert len(answers[0]) == len(answers[1]) == 6
    assert answers[0][0] != answers[1][0]
    two = body_of(asked, *[part(Kind.FRAMES, npy(np.zeros((1, 16, 16, 3), np.uint8)))] * 2)
    refused = await client.post("/animate", content=two, headers=headers)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "beginning")


@pytest.mark.parametrize(
    ("different", "code", "param"),
    [
        ({"frames": MAX_FRAMES + 1}, "invalid_value", "frames"),
        ({"frames": 1}, "invalid_value", "frames"),
        ({"drawn": MAX_FRAMES + 1}, "invalid_value", "drawn"),
        ({"count": 5}, "invalid_value", "count"),
        ({"prompt": "red " * 7}, "prompt_too_long", "prompt"),
        ({"size": {"width": 32, "height": 32}}, "unsupported_size", "size"),
        ({"steps": 9}, "invalid_value", "steps"),
        ({"lora": []}, "invalid_value", "lora"),
    ],
)
async def test_what_cannot_be_drawn_is_a_400_before_the_stream_begins(
    client: httpx.AsyncClient, different: dict[str, Any], code: str, param: str
) -> None:
    response = await client.post("/animate", json=ANIMATE | different)
    assert response.status_code == 400
    error = response.json()["error"]
    assert (error["code"], error["param"]) == (code, param)
    assert "red red" not in response.text


async def test_a_grant_of_a_former_owner_is_refused(client: httpx.AsyncClient) -> None:
    await client.post("/animate", json=ANIMATE, headers={GRANT_HEADER: "ab:7"})
    stale = await client.post("/animate", json=ANIMATE, headers={GRANT_HEADER: "ab:6"})
    assert stale.json()["error"]["code"] == "grant_stale"


async def test_a_deadline_that_passes_ends_the_stream_with_an_error(
    app_of: Callable[..., Starlette], moving_folder: Path
) -> None:
    backend = GatedBackend()
    async with client_of(app_of(moving_folder, backend)) as client:
        parts = await parts_of(await client.post("/animate", json=ANIMATE, headers={DEADLINE_HEADER: "400"}))
        backend.allowed.release(99)
    assert parts[0].read(DrawProgress).step == 0
    assert json.loads(parts[-1].body)["error"]["code"] == "deadline_exceeded"


async def test_who_hangs_up_stops_the_clip_after_the_window_it_is_at(
    app_of: Callable[..., Starlette], moving_folder: Path
) -> None:
    backend = GatedBackend()
    app = app_of(moving_folder, backend)
    async with client_of(app) as client:
        asked = asyncio.create_task(client.post("/animate", json=ANIMATE))
        await until(lambda: len(backend.begun) == 1)
        backend.allowed.release(1)
        await until(lambda: len(backend.begun) == PASSES)
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        backend.allowed.release(99)
        await until(lambda: app.state.executor.free_slots == app.state.executor.slots)
    assert len(backend.begun) == PASSES


async def test_slots_are_held_by_clips_and_a_service_that_drains_finishes_them(
    app_of: Callable[..., Starlette], moving_folder: Path
) -> None:
    backend = GatedBackend()
    app = app_of(moving_folder, backend)
    async with client_of(app) as client:
        asked = [asyncio.create_task(client.post("/animate", json=ANIMATE)) for _ in range(2)]
        await until(lambda: app.state.executor.free_slots == 0)
        refused = await client.post("/animate", json=ANIMATE)
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "stage_full")
        assert int(refused.headers["retry-after"]) >= 1
        drain = asyncio.create_task(client.get("/drain"))
        await asyncio.sleep(0)
        backend.allowed.release(99)
        clips = [await parts_of(each) for each in await asyncio.gather(*asked)]
        assert (await drain).json() == {"running": 0}
        late = await client.post("/animate", json=ANIMATE)
    assert [parts[-1].kind for parts in clips] == [Kind.DONE, Kind.DONE]
    assert (late.status_code, late.json()["error"]["code"]) == (429, "stage_full")


async def test_the_description_says_what_moves_and_what_it_costs(
    app_of: Callable[..., Starlette], moving_folder: Path
) -> None:
    app = app_of(moving_folder)
    async with client_of(app) as client:
        before = MotionDescription.model_validate_json((await client.get("/describe")).content)
        assert before.costs is None
        app.state.executor.engine.warm_up()
        said = MotionDescription.model_validate_json((await client.get("/describe")).content)
    assert (said.window, said.overlap, said.max_frames, said.frames_per_second) == (WINDOW, OVERLAP, MAX_FRAMES, 8)
    assert (said.name, said.edits, said.previews, said.slots) == ("tiny", True, True, 2)
    assert said.costs is not None
    [costs] = said.costs.sizes
    assert (said.costs.guided_rows, str(costs.size)) == (2, "16x16")
    assert min(costs.step, costs.decode, costs.encode) > 0


async def test_the_service_opens_the_bundle_that_is_named(
    moving_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("BOWERBIRD_MOTION_MODEL", str(moving_folder))
    monkeypatch.setenv("BOWERBIRD_HOME", str(tmp_path))
    monkeypatch.setattr(service.app, "state", State())
    opened = Animation.inner()  # type: ignore[attr-defined]  # what BentoML has made of the class
    try:
        async with client_of(service.app) as client:
            parts = await parts_of(await client.post("/animate", json=ANIMATE))
    finally:
        opened.close()
    assert parts[-1].kind is Kind.DONE


def test_a_bundle_that_draws_stills_only_is_not_served(moving_folder: Path, tmp_path: Path) -> None:
    stills = write_tiny_bundle(tmp_path / "stills").folder
    assert moving(stills) is None
    assert moving(moving_folder) == moving_folder
    assert moving(None, packaged=moving_folder) == moving_folder
    assert moving(None, packaged=tmp_path / "absent") is None
    assert moving(tmp_path / "absent") == tmp_path / "absent"  # to be opened: it says what is wrong
