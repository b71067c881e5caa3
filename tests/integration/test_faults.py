"""What the chain does when a part of it is gone, and when the caller is."""

from __future__ import annotations

import json
import secrets
import socket
import threading
import time
from urllib.parse import urlsplit

import httpx2
import pytest

from ..embedded_stack import RunningStack
from ..otlp import Collector, ReceivedSpan

pytestmark = pytest.mark.timeout(300)

PROMPT = "an american robin perched on a branch in winter"
MANY_STEPS = 50
"""Of what is not drawn to its end."""
LONG_STEPS = 30
"""Of what something dies under, and what is drawn then."""


def draw(stack: RunningStack, timeout: float = 120, **fields: object) -> httpx2.Response:
    return httpx2.post(f"{stack.url}/v1/images/generations", json={"prompt": PROMPT, **fields}, timeout=timeout)


def served_draw(spans: list[ReceivedSpan]) -> bool:
    """True once text-to-image has ended its part."""
    return any((span.service, span.name) == ("text-to-image", "POST /draw") for span in spans)


def denoise_steps(spans: list[ReceivedSpan]) -> list[ReceivedSpan]:
    return [span for span in spans if span.name == "denoise_step"]


def steps_begun_after(spans: list[ReceivedSpan], cancelled_at: float) -> int:
    """Of a drawing whose steps take much longer than a cancel takes through all hops."""
    return sum(span.begun > cancelled_at for span in denoise_steps(spans))


@pytest.fixture(autouse=True)
def _ready(stack: RunningStack) -> None:
    stack.wait_until_ready()


def test_client_that_hangs_up_stops_the_denoiser(stack: RunningStack, otlp: Collector) -> None:
    trace_id = secrets.token_hex(16)
    body = json.dumps({"prompt": PROMPT, "steps": MANY_STEPS, "candidates": 8})
    gateway = urlsplit(stack.url)
    with socket.create_connection((gateway.hostname or "", gateway.port or 0)) as client:
        head = [
            "POST /v1/images/generations HTTP/1.1",
            f"Host: {gateway.netloc}",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            f"traceparent: 00-{trace_id}-{secrets.token_hex(8)}-01",
        ]
        client.sendall("\r\n".join([*head, "", body]).encode())
        otlp.wait_for(trace_id, lambda spans: bool(denoise_steps(spans)), seconds=60)
    cancelled_at = time.time()

    spans = otlp.wait_for(trace_id, served_draw)
    assert served_draw(spans)
    assert 0 < len(denoise_steps(spans)) < MANY_STEPS
    assert steps_begun_after(spans, cancelled_at) <= 1
    assert not [span for span in spans if span.name == "publish"]


def test_deadline_stops_the_denoiser_and_is_told(stack: RunningStack, otlp: Collector) -> None:
    trace_id = secrets.token_hex(16)
    asked_at = time.time()
    answer = httpx2.post(
        f"{stack.url}/v1/images/generations",
        json={"prompt": PROMPT, "steps": MANY_STEPS, "candidates": 8},
        headers={"traceparent": f"00-{trace_id}-{secrets.token_hex(8)}-01", "Bowerbird-Deadline-Ms": "1200"},
        timeout=60,
    )

    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "deadline_exceeded")
    assert "retry-after" in answer.headers
    spans = otlp.wait_for(trace_id, served_draw)
    assert len(denoise_steps(spans)) < MANY_STEPS
    assert steps_begun_after(spans, asked_at + 1.2) <= 1


def test_safety_that_was_killed_is_named_and_drawing_works_again_when_it_is_back(stack: RunningStack) -> None:
    stack.kill("safety")
    answer = draw(stack, steps=1)

    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "stage_unavailable")
    assert answer.json()["error"]["stage"] == "safety"
    assert int(answer.headers["retry-after"]) > 0
    stack.wait_until_away("safety")
    stack.wait_until_ready()
    assert draw(stack, steps=1).status_code == 200


@pytest.mark.parametrize("stage", ["text-to-image", "curation"])
def test_stage_that_was_killed_is_waited_for(stack: RunningStack, stage: str) -> None:
    stack.kill(stage)
    stack.wait_until_away(stage)
    answer = draw(stack, steps=1)

    assert answer.status_code == 200
    admitted = next(each for each in answer.headers["server-timing"].split(", ") if each.startswith("admit"))
    assert float(admitted.partition("dur=")[2]) > 0


def test_request_whose_model_dies_while_it_draws_is_drawn_when_it_is_back(stack: RunningStack) -> None:
    answers: list[httpx2.Response] = []
    drawing = threading.Thread(target=lambda: answers.append(draw(stack, steps=LONG_STEPS, candidates=4, seed=7)))
    drawing.start()
    stack.wait_until_drawing()
    time.sleep(0.5)  # whoever has a slot is on the way to the model
    stack.kill("text-to-image")
    drawing.join(150)

    [answer] = answers
    assert answer.status_code == 200, answer.text
    assert int(answer.headers["bowerbird-seeds"]) in range(7, 11)
    put_back = next(
        line for line in httpx2.get(f"{stack.url}/metrics").text.splitlines() if 'put_back_total{reason="lost"}' in line
    )
    assert float(put_back.split()[1]) >= 1
