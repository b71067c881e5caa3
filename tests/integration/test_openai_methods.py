"""Every method of OpenAI's unmodified client that Bowerbird answers, against the real chain, once.

`test_openai_client` looks closer at drawing; here is that each method works, with the types that the client has for it.
"""

from __future__ import annotations

import base64
import io
import json
import time
from collections.abc import Iterator
from typing import Any, Literal

import openai
import pytest
from openai.types import Batch, FileObject
from PIL import Image

from ..embedded_stack import RunningStack
from ..receiver import Receiver, listening

pytestmark = pytest.mark.timeout(300)

PROMPT = "an american robin perched on a branch in winter"
QUICK: dict[str, Any] = {"steps": 2}
WAIT_SECONDS = 120.0


@pytest.fixture(scope="module")
def client(stack: RunningStack) -> Iterator[openai.OpenAI]:
    stack.wait_until_ready()
    with openai.OpenAI(base_url=f"{stack.url}/v1", api_key="any", timeout=120) as opened:
        yield opened


@pytest.fixture(scope="module")
def picture(client: openai.OpenAI) -> bytes:
    """What images.generate answers with."""
    [image] = client.images.generate(prompt=PROMPT, extra_body={**QUICK, "seed": 21}).data or []
    return base64.b64decode(image.b64_json or "")


def ended(client: openai.OpenAI, batch: Batch) -> Batch:
    """The batch when nothing of it is to be done any more."""
    ends_at = time.monotonic() + WAIT_SECONDS
    while batch.status not in ("completed", "failed", "expired", "cancelled"):
        assert time.monotonic() < ends_at, batch
        time.sleep(0.2)
        batch = client.batches.retrieve(batch.id)
    return batch


def uploaded(client: openai.OpenAI, url: str, *bodies: dict[str, Any]) -> FileObject:
    lines = [
        json.dumps({"custom_id": f"line-{number}", "method": "POST", "url": url, "body": body})
        for number, body in enumerate(bodies)
    ]
    return client.files.create(file=("lines.jsonl", "\n".join(lines).encode()), purpose="batch")


def outcomes(client: openai.OpenAI, file_id: str | None) -> dict[str, dict[str, Any]]:
    """The lines of an output or error file by their custom id."""
    lines = client.files.content(file_id or "").text.splitlines()
    return {each["custom_id"]: each for each in map(json.loads, lines)}


def test_images_generate(picture: bytes) -> None:
    assert Image.open(io.BytesIO(picture)).format == "PNG"


def test_images_generate_streams(client: openai.OpenAI) -> None:
    with client.images.generate(prompt=PROMPT, stream=True, partial_images=1, extra_body={"steps": 8}) as events:
        kinds = [event.type for event in events]
    assert kinds == ["image_generation.partial_image", "image_generation.completed"]


def test_images_edit_and_its_stream(client: openai.OpenAI, picture: bytes) -> None:
    file = ("robin.png", picture)
    edited = client.images.edit(image=file, prompt="a blue jay", extra_body={**QUICK, "strength": 0.8})
    assert (edited.data or [])[0].b64_json
    with client.images.edit(image=file, prompt="a blue jay", stream=True, extra_body=QUICK) as events:
        assert [event.type for event in events][-1] == "image_edit.completed"


def test_files(client: openai.OpenAI) -> None:
    file = uploaded(client, "/v1/moderations", {"input": "a robin"})
    assert (file.object, file.purpose) == ("file", "batch")
    assert client.files.retrieve(file.id).bytes == file.bytes
    assert file.id in [each.id for each in client.files.list(limit=100)]
    assert json.loads(client.files.content(file.id).read())["custom_id"] == "line-0"
    assert client.files.delete(file.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(file.id)


def test_batches_of_pictures(client: openai.OpenAI) -> None:
    url: Literal["/v1/images/generations"] = "/v1/images/generations"
    file = uploaded(client, url, {"prompt": PROMPT, **QUICK, "seed": 1}, {"prompt": PROMPT, "steps": 0})
    made = client.batches.create(
        input_file_id=file.id, endpoint=url, completion_window="24h", metadata={"run": "nightly"}
    )
    batch = ended(client, made)

    assert (batch.status, batch.metadata) == ("completed", {"run": "nightly"})
    assert batch.request_counts
    assert (batch.request_counts.total, batch.request_counts.completed, batch.request_counts.failed) == (2, 1, 1)
    [answer] = outcomes(client, batch.output_file_id).values()
    assert Image.open(io.BytesIO(base64.b64decode(answer["response"]["body"]["data"][0]["b64_json"]))).format == "PNG"
    assert list(outcomes(client, batch.error_file_id)) == ["line-1"]
    assert batch.id in [each.id for each in client.batches.list(limit=5)]


def test_batches_of_moderations_and_their_cancelling(client: openai.OpenAI) -> None:
    file = uploaded(client, "/v1/moderations", {"input": "a robin"}, {"input": "gore, a man beheaded"})
    batch = ended(
        client,
        client.batches.create(input_file_id=file.id, endpoint="/v1/moderations", completion_window="24h"),
    )
    flagged = [
        each["response"]["body"]["results"][0]["flagged"]
        for _, each in sorted(outcomes(client, batch.output_file_id).items())
    ]
    assert flagged == [False, True]
    with pytest.raises(openai.ConflictError):
        client.batches.cancel(batch.id)


def test_moderations(client: openai.OpenAI) -> None:
    assert client.moderations.create(input="a robin").results[0].flagged is False


def test_content_provenance_checks(client: openai.OpenAI, picture: bytes) -> None:
    [result] = client.content_provenance_checks.create(file=("robin.png", picture)).results
    assert (result.type, result.outcome) == ("c2pa", "detected")


def test_models(client: openai.OpenAI) -> None:
    [model] = client.models.list().data
    assert client.models.retrieve(model.id) == model


def test_webhooks_and_their_unwrapping(client: openai.OpenAI) -> None:
    with listening() as receiver:
        endpoint = client.webhooks.create(name="tests", url=receiver.url, event_types=["batch.completed"])
        secret = endpoint.signing_secret
        assert secret
        client.webhooks.test(endpoint.id, event_type="batch.completed")
        file = uploaded(client, "/v1/moderations", {"input": "a robin"})
        batch = client.batches.create(input_file_id=file.id, endpoint="/v1/moderations", completion_window="24h")
        told = unwrapped(client, receiver, secret, batch.id)
        client.webhooks.delete(endpoint.id)

    assert told.type == "batch.completed"


def unwrapped(client: openai.OpenAI, receiver: Receiver, secret: str, batch_id: str) -> Any:
    """The event about this batch, as the client believes it."""
    ends_at = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < ends_at:
        for body, headers in list(receiver.received):
            event = client.webhooks.unwrap(body, headers, secret=secret)
            if event.data.id == batch_id:  # type: ignore[union-attr]
                return event
        time.sleep(0.1)
    raise AssertionError(f"nothing was told about {batch_id}")
