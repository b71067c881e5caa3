"""A streamed picture through OpenAI's unmodified client and the real chain."""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import openai
import pytest
from openai.types import ImageGenCompletedEvent, ImageGenPartialImageEvent
from PIL import Image

from ..embedded_stack import RunningStack

pytestmark = pytest.mark.timeout(300)

PROMPT = "an american robin perched on a branch in winter"
FRESH: dict[str, Any] = {"steps": 20, "seed": 11, "cache": "fresh"}


@pytest.fixture(scope="module")
def client(stack: RunningStack) -> Iterator[openai.OpenAI]:
    stack.wait_until_ready()
    with openai.OpenAI(base_url=f"{stack.url}/v1", api_key="any", max_retries=0, timeout=120) as opened:
        yield opened


def opened(b64_json: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(b64_json)))


@pytest.mark.parametrize("output_format", ["png", "jpeg"])
def test_previews_come_before_the_picture_and_resemble_it(client: openai.OpenAI, output_format: Any) -> None:
    stream = client.images.generate(
        prompt=PROMPT, stream=True, partial_images=2, output_format=output_format, extra_body=FRESH
    )
    *previews, picture = list(stream)

    assert isinstance(picture, ImageGenCompletedEvent)
    assert [each.partial_image_index for each in previews if isinstance(each, ImageGenPartialImageEvent)] == [0, 1]
    finished = opened(picture.b64_json)
    assert picture.size == f"{finished.width}x{finished.height}"
    assert picture.usage.input_tokens_details.text_tokens > 5
    assert picture.usage.output_tokens > 0
    whole = np.asarray(finished.convert("RGB"), np.float64).ravel()
    for event in previews:
        shown = opened(event.b64_json)
        assert (shown.format, shown.size) == (output_format.upper(), finished.size)
        assert np.corrcoef(np.asarray(shown.convert("RGB"), np.float64).ravel(), whole)[0, 1] > 0.5


def test_a_preview_is_recognised_as_made_here(client: openai.OpenAI) -> None:
    stream = client.images.generate(prompt=PROMPT, stream=True, partial_images=1, extra_body=FRESH)
    preview = next(iter(stream))
    stream.close()

    [result] = client.content_provenance_checks.create(file=("a.png", base64.b64decode(preview.b64_json))).results
    assert result.to_dict()["bowerbird"]["verdict"] == "made_here_intact"  # type: ignore[index]


def test_a_stream_that_is_not_read_to_its_end_stops_the_drawing(client: openai.OpenAI, stack: RunningStack) -> None:
    body = {**FRESH, "steps": 50}
    stream = client.images.generate(prompt=PROMPT, stream=True, partial_images=3, extra_body=body)
    next(iter(stream))
    assert stack.slots_held() >= 1
    stream.close()
    until = time.monotonic() + 60
    while stack.slots_held() > 0:
        assert time.monotonic() < until


def test_a_refused_prompt_is_the_clients_own_error(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.images.generate(prompt="graphic gore, a man beheaded in a pool of blood", stream=True)

    assert refused.value.code == "moderation_blocked"


async def test_async_client_streams_too(stack: RunningStack) -> None:
    async with openai.AsyncOpenAI(base_url=f"{stack.url}/v1", api_key="any", max_retries=0) as client:
        body = {**FRESH, "steps": 4}
        stream = await client.images.generate(prompt=PROMPT, stream=True, partial_images=1, extra_body=body)
        kinds = [event.type async for event in stream]

    assert kinds[-1] == "image_generation.completed"
