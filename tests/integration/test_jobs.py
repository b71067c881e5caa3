"""Accepted means never lost: jobs on the real stack, whose gateway is killed meanwhile."""

from __future__ import annotations

import base64
import io
import json
import secrets
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import numpy as np
import pytest
from PIL import Image

from ..embedded_stack import RunningStack
from ..otlp import Collector, ReceivedSpan

pytestmark = pytest.mark.timeout(300)

PROMPT = "an american robin perched on a branch in winter"
BODY = {"prompt": PROMPT, "seed": 41, "steps": 4}
MANY_STEPS = 50
"""Of what is not drawn to its end."""
LONG_STEPS = 30
"""Of what its gateway is killed under, and what is drawn then."""
UP_SECONDS = 60.0


@pytest.fixture
def client(stack: RunningStack) -> Iterator[httpx2.Client]:
    """A client of the gateway, which lets everybody in."""
    stack.wait_until_ready()
    with httpx2.Client(base_url=stack.url, timeout=120, trust_env=False) as opened:
        yield opened


def submit(client: httpx2.Client, body: dict[str, object], **headers: str) -> str:
    """The id of a new job."""
    answer = client.post("/v1/images/generations", json=body, headers={"Prefer": "respond-async", **headers})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def events(client: httpx2.Client, job_id: str) -> list[tuple[str, dict[str, object]]]:
    """Kind and data of every event of a job, heard to its end; comes back when the connection breaks."""
    told: list[tuple[str, dict[str, object]]] = []
    last, ends_at = "0", time.monotonic() + UP_SECONDS
    while time.monotonic() < ends_at:
        try:
            with client.stream("GET", f"/v1/jobs/{job_id}/events", headers={"Last-Event-ID": last}) as answer:
                fields: dict[str, str] = {}
                for line in answer.iter_lines():
                    name, _, value = line.partition(": ")
                    if name:
                        fields[name] = value
                        continue
                    if "id" in fields:
                        last = fields["id"]
                        told.append((fields["event"], json.loads(fields["data"])))
                    fields = {}
                if answer.status_code == 200:
                    return told
        except httpx2.TransportError:
            time.sleep(0.1)
    raise AssertionError(f"the job did not end: {told}")


def until_drawn(client: httpx2.Client, job_id: str) -> None:
    """Waits until the job is being drawn."""
    for _ in range(3000):
        if client.get(f"/v1/jobs/{job_id}").json()["phase"] in ("draw", "judge", "check_images"):
            return
        time.sleep(0.05)
    raise AssertionError("the job is not drawn")


def until_up(client: httpx2.Client, killed_at: float) -> None:
    """Waits until a gateway listens again."""
    while True:
        try:
            if client.get("/livez").status_code == 200:
                return
        except httpx2.TransportError:
            pass
        assert time.monotonic() < killed_at + UP_SECONDS
        time.sleep(0.1)


def test_a_job_is_told_about_and_gives_the_picture_of_its_seed(client: httpx2.Client) -> None:
    job_id = submit(client, BODY)
    told = [kind for kind, _ in events(client, job_id)]
    assert (told[:2], told[-1]) == (["queued", "running"], "succeeded")
    result = client.get(f"/v1/jobs/{job_id}/result")
    assert result.status_code == 200
    assert result.headers["bowerbird-seeds"] == "41"
    assert len(result.json()["data"]) == 1
    assert client.get("/v1/usage").json()["data"][-1]["pictures"] >= 1


def test_a_job_survives_the_killing_of_its_gateway(client: httpx2.Client, stack: RunningStack) -> None:
    job_id = submit(client, {**BODY, "seed": secrets.randbits(32), "steps": LONG_STEPS, "candidates": 4})
    until_drawn(client, job_id)
    killed_at = time.monotonic()
    stack.kill("gateway")
    until_up(client, killed_at)
    told = [kind for kind, _ in events(client, job_id)]
    assert told.count("running") >= 2  # more, where a machine is so slow that the stages were not seen ready yet
    assert told[-1] == "succeeded"
    job = client.get(f"/v1/jobs/{job_id}").json()
    assert (job["status"], job["attempts"]) == ("succeeded", told.count("running"))
    assert client.get(f"/v1/jobs/{job_id}/result").status_code == 200


def test_an_edit_survives_the_killing_of_its_gateway(client: httpx2.Client, stack: RunningStack) -> None:
    began = base64.b64decode(client.post("/v1/images/generations", json=BODY).json()["data"][0]["b64_json"])
    asked: dict[str, Any] = {
        "data": {"prompt": "a blue jay in winter", "seed": "5", "steps": str(LONG_STEPS), "candidates": "4"},
        "files": {"image": ("robin.png", began)},
    }
    answer = client.post("/v1/images/edits", **asked, headers={"Prefer": "respond-async"})
    assert answer.status_code == 202, answer.text
    job_id = answer.json()["id"]
    until_drawn(client, job_id)
    killed_at = time.monotonic()
    stack.kill("gateway")
    until_up(client, killed_at)
    told = [kind for kind, _ in events(client, job_id)]
    assert told.count("running") >= 2
    assert told[-1] == "succeeded"
    stack.wait_until_ready()
    drawn, plain = client.get(f"/v1/jobs/{job_id}/result"), client.post("/v1/images/edits", **asked)
    assert drawn.headers["bowerbird-seeds"] == plain.headers["bowerbird-seeds"]
    one, other = (base64.b64decode(each.json()["data"][0]["b64_json"]) for each in (drawn, plain))
    assert np.abs(pixels(one) - pixels(other)).max() <= 1


def pixels(content: bytes) -> Any:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"), np.float64)


def test_a_request_under_a_key_is_answered_after_the_killing_of_its_gateway(
    client: httpx2.Client, stack: RunningStack
) -> None:
    body = {**BODY, "seed": secrets.randbits(32), "steps": LONG_STEPS, "candidates": 4}
    headers = {"Idempotency-Key": secrets.token_hex(8)}
    with ThreadPoolExecutor(1) as asking:
        broken = asking.submit(client.post, "/v1/images/generations", json=body, headers=headers)
        stack.wait_until_drawing()
        killed_at = time.monotonic()
        stack.kill("gateway")
        with pytest.raises(httpx2.TransportError):
            broken.result()
    until_up(client, killed_at)
    answer = client.post("/v1/images/generations", json=body, headers=headers)
    assert answer.status_code == 200
    again = client.post("/v1/images/generations", json=body, headers=headers)
    assert again.json() == answer.json()


def test_a_cancelled_job_stops_the_denoiser(client: httpx2.Client, otlp: Collector) -> None:
    trace_id = secrets.token_hex(16)
    traceparent = f"00-{trace_id}-{secrets.token_hex(8)}-01"
    body = {**BODY, "seed": secrets.randbits(32), "steps": MANY_STEPS, "candidates": 8}
    job_id = submit(client, body, traceparent=traceparent)
    otlp.wait_for(trace_id, lambda spans: any(span.name == "denoise_step" for span in spans), seconds=60)
    cancelled_at = time.time()
    assert client.delete(f"/v1/jobs/{job_id}").json()["status"] == "cancelled"

    def drawing_ended(spans: list[ReceivedSpan]) -> bool:
        return any((span.service, span.name) == ("text-to-image", "POST /draw") for span in spans)

    steps = [span for span in otlp.wait_for(trace_id, drawing_ended) if span.name == "denoise_step"]
    assert len(steps) < MANY_STEPS
    assert sum(span.begun > cancelled_at for span in steps) <= 1
    spans = otlp.trace(trace_id)
    assert not [span for span in spans if span.name == "publish"]
    assert events(client, job_id)[-1][0] == "cancelled"
