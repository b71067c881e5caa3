"""A batch on the real chain, by the unmodified `openai` client: drawn, killed in the middle, finished, downloaded."""

from __future__ import annotations

import base64
import io
import json
import time
from typing import Any

import httpx2
import openai
import pytest
from openai.types import Batch
from PIL import Image

from ..embedded_stack import RunningStack

pytestmark = pytest.mark.timeout(300)

GENERATIONS: Any = "/v1/images/generations"
EDITS: Any = "/v1/images/edits"
ENDED = ("completed", "failed", "expired", "cancelled")
UP_SECONDS = 120.0
LONG = 12
"""Steps of lines that are to be under way for seconds: whoever looks at them is kept waiting by the same cores."""


def line(number: int, url: str = GENERATIONS, **body: Any) -> str:
    asked = {"prompt": "an american robin perched on a branch in winter", "steps": 2, "seed": number} | body
    return json.dumps({"custom_id": f"robin-{number}", "method": "POST", "url": url, "body": asked})


def until(client: openai.OpenAI, batch: Batch, completed: int) -> Batch:
    """The batch when it has ended, or so many lines are completed; through a gateway that is not there for a while."""
    ends_at = time.monotonic() + UP_SECONDS
    while time.monotonic() < ends_at:
        try:
            batch = client.batches.retrieve(batch.id)
        except (openai.APIConnectionError, openai.InternalServerError):
            time.sleep(0.1)
            continue
        counts = batch.request_counts
        if batch.status in ENDED or (counts and counts.completed >= completed):
            return batch
        time.sleep(0.05)
    raise AssertionError(f"the batch did not get that far: {batch}")


def answers(client: openai.OpenAI, file_id: str | None) -> dict[str, Any]:
    """By the line's name; the output of a batch that had no line twice."""
    lines = [json.loads(each) for each in client.files.content(file_id or "").text.splitlines()]
    found = {each["custom_id"]: each["response"]["body"] for each in lines}
    assert len(found) == len(lines)
    return found


def test_a_batch_is_finished_although_its_gateway_is_killed(stack: RunningStack) -> None:
    stack.wait_until_ready()
    with (
        openai.OpenAI(base_url=f"{stack.url}/v1", api_key="any", max_retries=0, timeout=60) as client,
        httpx2.Client(base_url=stack.url, timeout=60, trust_env=False) as plain,
    ):
        before = plain.get("/v1/usage").json()["data"]
        lines = [line(number, steps=LONG) for number in range(1, 13)] + ["{malformed", line(14, steps=9999)]
        file = client.files.create(file=("robins.jsonl", "\n".join(lines).encode()), purpose="batch")
        batch = client.batches.create(input_file_id=file.id, endpoint=GENERATIONS, completion_window="24h")
        assert until(client, batch, completed=1).status == "in_progress"
        stack.kill("gateway")
        batch = until(client, batch, completed=10**6)
        assert batch.status == "completed"
        assert batch.request_counts
        counts = batch.request_counts
        assert (counts.total, counts.completed, counts.failed) == (14, 12, 2)
        drawn = answers(client, batch.output_file_id)
        assert set(drawn) == {f"robin-{number}" for number in range(1, 13)}
        at_once = plain.post(GENERATIONS, json=json.loads(line(5, steps=LONG))["body"]).json()
        assert pixels(drawn["robin-5"]) == pixels(at_once)
        after = plain.get("/v1/usage").json()["data"]
        pictures = sum(each["pictures"] for each in after) - sum(each["pictures"] for each in before)
        assert pictures == 12 + 1


def test_a_batch_of_edits_begins_with_pictures_in_its_lines(stack: RunningStack) -> None:
    stack.wait_until_ready()
    with openai.OpenAI(base_url=f"{stack.url}/v1", api_key="any", max_retries=0, timeout=60) as client:
        first = client.images.generate(prompt="a blue jay perched on a branch", extra_body={"steps": 2, "seed": 3})
        assert first.data
        url = f"data:image/png;base64,{first.data[0].b64_json}"
        lines = [line(number, EDITS, image=url, strength=0.6, steps=4) for number in (1, 2)]
        file = client.files.create(file=("edits.jsonl", "\n".join(lines).encode()), purpose="batch")
        batch = client.batches.create(input_file_id=file.id, endpoint=EDITS, completion_window="24h")
        batch = until(client, batch, completed=10**6)
        assert batch.status == "completed"
        drawn = answers(client, batch.output_file_id)
        assert pixels(drawn["robin-1"]) != pixels(drawn["robin-2"])


def pixels(body: dict[str, Any]) -> bytes:
    picture = base64.b64decode(body["data"][0]["b64_json"])
    return Image.open(io.BytesIO(picture)).convert("RGB").tobytes()
