"""A gateway dies under a plain request: OpenAI's client, as it comes, has its picture in the end, and the same one."""

from __future__ import annotations

import base64
import io
import secrets
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import openai
import pytest
from numpy.typing import NDArray
from openai.types import ImagesResponse
from PIL import Image

from ..embedded_stack import RunningStack

pytestmark = pytest.mark.timeout(300)

PROMPT = "an american robin perched on a branch in winter"
SLOW = {"steps": 30, "candidates": 4}


def pixels(answer: ImagesResponse) -> NDArray[np.int16]:
    [image] = answer.data or []
    picture = Image.open(io.BytesIO(base64.b64decode(image.b64_json or "")))
    return np.asarray(picture.convert("RGB")).astype(np.int16)


def test_a_client_whose_gateway_is_killed_gets_its_picture_by_its_own_retry(stack: RunningStack) -> None:
    stack.wait_until_ready()
    asked = {**SLOW, "seed": secrets.randbits(40)}
    with (
        openai.OpenAI(base_url=f"{stack.url}/v1", api_key="any", timeout=120) as client,
        ThreadPoolExecutor(1) as drawing,
    ):
        answer = drawing.submit(client.images.generate, prompt=PROMPT, extra_body=asked)
        stack.wait_until_drawing()
        stack.kill("gateway")
        first = answer.result()
        again = client.images.generate(prompt=PROMPT, extra_body={**asked, "cache": "fresh"})

    assert np.abs(pixels(first) - pixels(again)).max() <= 1
