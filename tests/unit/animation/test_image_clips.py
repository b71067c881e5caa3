"""The service around a bundle whose clips are told a picture and no prompt, as Stable Video Diffusion's."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from starlette.applications import Starlette

from bowerbird.contracts import AnimateRequest, DrawDone, MotionDescription
from bowerbird.frames import npy
from bowerbird.parts import CONTENT_TYPE, Kind, body_of, part, read_parts

from ..engine.tiny_bundle import WINDOW, Tiny, write_tiny_bundle

ANIMATE: dict[str, Any] = {
    "size": {"width": 16, "height": 16},
    "steps": 2,
    "guidance_scale": 3,
    "seed": 7,
    "frames": WINDOW,
    "beginning": {"strength": 1},
}
PICTURE = part(Kind.FRAMES, npy(np.full((1, 16, 16, 3), 90, np.uint8)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "video", Tiny(image=True)).folder


@pytest.fixture
async def client(app_of: Callable[..., Starlette], folder: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app_of(folder)), base_url="http://service") as client:
        yield client


async def animate(client: httpx.AsyncClient, *pictures: bytes, **different: Any) -> httpx.Response:
    body = body_of(AnimateRequest.model_validate(ANIMATE | different), *pictures)
    return await client.post("/animate", content=body, headers={"Content-Type": CONTENT_TYPE})


async def test_a_picture_becomes_a_clip(client: httpx.AsyncClient) -> None:
    response = await animate(client, PICTURE)
    parts = [each async for each in read_parts(response.aiter_bytes())]
    frames = [each.body for each in parts if each.kind is Kind.FRAMES]
    assert len(set(frames)) == WINDOW
    done = parts[-1].read(DrawDone)
    assert (done.text_tokens, done.steps_computed) == (0, 2 * WINDOW)


async def test_the_description_says_that_it_wants_a_picture_and_no_prompt(
    app_of: Callable[..., Starlette], client: httpx.AsyncClient, moving_folder: Path
) -> None:
    said = MotionDescription.model_validate_json((await client.get("/describe")).content)
    assert (said.begins, said.prompts, said.loops, said.max_prompt_tokens) == ("must", False, False, 0)
    assert (said.max_frames, said.edits) == (WINDOW, True)
    prompted = httpx.ASGITransport(app_of(moving_folder))
    async with httpx.AsyncClient(transport=prompted, base_url="http://service") as other:
        said = MotionDescription.model_validate_json((await other.get("/describe")).content)
    assert (said.begins, said.prompts, said.loops) == ("may", True, True)


@pytest.mark.parametrize(
    ("pictures", "different", "param"),
    [
        ([], {"beginning": None}, "beginning"),
        ([], {}, "beginning"),
        ([PICTURE], {"beginning": {"strength": 0.5}}, "strength"),
        ([PICTURE], {"prompt": "a cardinal taking off"}, "prompt"),
        ([PICTURE], {"negative_prompt": "dull"}, "negative_prompt"),
        ([PICTURE], {"loop": True}, "loop"),
    ],
)
async def test_what_is_wanting_and_what_does_nothing_is_a_400_that_names_the_field(
    client: httpx.AsyncClient, pictures: list[bytes], different: dict[str, Any], param: str
) -> None:
    response = await animate(client, *pictures, **different)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param
    assert "cardinal" not in response.text
