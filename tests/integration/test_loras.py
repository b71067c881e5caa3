"""LoRAs in the running chain: a file is put into the folder, named in requests, and taken away again."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from safetensors.numpy import save_file

from benchmarks.engine.lora_files import write_loras
from bowerbird.engine.bundle import Bundle
from bowerbird.settings import PACKAGED_MODELS

from ..embedded_stack import RunningStack

pytestmark = pytest.mark.timeout(300)

PROMPT = "an american robin perched on a branch in winter"
QUICK: dict[str, Any] = {"steps": 3, "seed": 11, "cache": "fresh"}


@pytest.fixture(scope="module")
def gateway(stack: RunningStack) -> Iterator[httpx2.Client]:
    stack.wait_until_ready()
    with httpx2.Client(base_url=stack.url, timeout=120) as client:
        yield client


@pytest.fixture(scope="module")
def loras(stack: RunningStack) -> Iterator[tuple[str, ...]]:
    """Three LoRAs, put into the folder of the stack while it serves."""
    names = write_loras(stack.loras, Bundle.open(PACKAGED_MODELS / "fledgling"))
    yield names
    for name in names:
        (stack.loras / f"{name}.safetensors").unlink(missing_ok=True)


def draw(gateway: httpx2.Client, **fields: Any) -> httpx2.Response:
    return gateway.post("/v1/images/generations", json={"prompt": PROMPT, **QUICK, **fields})


def picture(answer: httpx2.Response) -> bytes:
    """Without its label: a signature is never twice the same."""
    import cv2

    assert answer.status_code == 200, answer.text
    raw = np.frombuffer(base64.b64decode(answer.json()["data"][0]["b64_json"]), np.uint8)
    decoded = cv2.imdecode(raw, cv2.IMREAD_COLOR)
    assert decoded is not None
    return decoded.tobytes()


def test_a_lora_changes_the_picture_and_is_told(
    gateway: httpx2.Client, stack: RunningStack, loras: tuple[str, ...]
) -> None:
    plain, with_one = draw(gateway), draw(gateway, lora=[{"id": loras[0]}])
    digest = hashlib.sha256((stack.loras / f"{loras[0]}.safetensors").read_bytes()).hexdigest()

    assert picture(with_one) != picture(plain)
    assert picture(draw(gateway, lora=[{"id": loras[0]}])) == picture(with_one)
    assert with_one.json()["bowerbird"]["loras"] == {loras[0]: f"sha256:{digest}"}
    assert plain.json()["bowerbird"]["loras"] == {}


def test_requests_with_different_loras_draw_side_by_side_what_they_draw_alone(
    gateway: httpx2.Client, loras: tuple[str, ...]
) -> None:
    wanted = [{"lora": [{"id": name, "weight": 0.7}]} for name in loras]
    alone = [picture(draw(gateway, **each)) for each in wanted]
    with ThreadPoolExecutor(len(wanted)) as callers:
        together = [picture(answer) for answer in callers.map(lambda each: draw(gateway, **each), wanted)]

    assert together == alone
    assert len(set(alone)) == len(wanted)


def test_the_folder_is_looked_at_again_whenever_one_is_named(
    gateway: httpx2.Client, stack: RunningStack, loras: tuple[str, ...]
) -> None:
    file: Path = stack.loras / f"{loras[1]}.safetensors"
    renamed = file.rename(stack.loras / "renamed.safetensors")
    try:
        listed = {each["id"] for each in gateway.get("/v1/loras").json()["data"]}
        gone = draw(gateway, lora=[{"id": loras[1]}])
        found = draw(gateway, lora=[{"id": "renamed"}])
    finally:
        renamed.rename(file)

    assert listed == {*loras, "renamed"} - {loras[1]}
    assert (gone.status_code, gone.json()["error"]["code"]) == (400, "lora_not_found")
    assert found.status_code == 200


def test_a_file_that_does_not_fit_the_model_is_refused_by_name(
    gateway: httpx2.Client, stack: RunningStack, loras: tuple[str, ...]
) -> None:
    foreign = stack.loras / "foreign.safetensors"
    save_file({"unet.mid_block.lora_A.weight": np.zeros((4, 8), np.float32)}, foreign)
    try:
        refused = gateway.get("/v1/loras").json()["refused"]
        answer = draw(gateway, lora=[{"id": "foreign"}])
    finally:
        foreign.unlink()

    assert "foreign.safetensors" in refused
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "lora_invalid")
    assert answer.json()["error"]["param"] == "lora"
