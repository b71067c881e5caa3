"""Every request that the client can make is one that the gateway's document knows, and every answer one it can read."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any, cast, get_args, get_origin

import jsonschema_rs
import pytest

from bowerbird.client import (
    administration,
    batches,
    feedback,
    jobs,
    models,
    pictures,
    provenance,
    rights,
    species,
    webhooks,
)
from bowerbird.client.calls import KEY_HEADER, Call, Value, keyed
from bowerbird.gateway.api.openapi import document

PROMPT = "a robin"
EVERYTHING: pictures.PictureOptions = {
    "n": 1,
    "size": "auto",
    "quality": "high",
    "output_format": "webp",
    "output_compression": 80,
    "seed": 1,
    "negative_prompt": "blur",
    "steps": 4,
    "guidance_scale": 2.0,
    "candidates": 2,
    "user": "u",
    "safety_identifier": "s",
}
DRAWN = cast(pictures.DrawOptions, {**EVERYTHING, "cache": "fresh", "lora": [{"id": "a", "weight": 0.5}]})
CALLS: list[Call[Any]] = [
    pictures.draw(PROMPT, DRAWN, 10),
    pictures.stream(PROMPT, 2, DRAWN).call,
    pictures.edit(("a.png", b"a"), PROMPT, ("m.png", b"m"), {**EVERYTHING, "strength": 0.5}, 10),
    pictures.of_job("job_1"),
    jobs.get_job("job_1"),
    jobs.list_jobs(5, "cursor"),
    jobs.cancel_job("job_1"),
    jobs.job_events("job_1").call,
    models.list_models(),
    models.get_model("fledgling"),
    models.list_loras(),
    provenance.moderate(["a", "b"]),
    provenance.check_provenance(b"a"),
    feedback.give_feedback("req_1", "stars", {"stars": 3, "image": 0, "tags": ["dark"], "text": "x"}),
    feedback.list_feedback(5, None, "req_1"),
    feedback.get_usage(),
    batches.upload_file(("lines.jsonl", io.BytesIO(b"{}"))),
    batches.get_file("file-1"),
    batches.list_files(5, "file-1"),
    batches.file_content("file-1"),
    batches.delete_file("file-1"),
    batches.create_batch("file-1", "/v1/images/generations", {"run": "1"}),
    batches.get_batch("batch_1"),
    batches.list_batches(5, "batch_1"),
    batches.cancel_batch("batch_1"),
    webhooks.create_webhook("a", "https://birds.example/hook", ["image.job.succeeded"]),
    webhooks.get_webhook("we_1"),
    webhooks.list_webhooks(5, None),
    webhooks.change_webhook("we_1", {"enabled": True}),
    webhooks.delete_webhook("we_1"),
    webhooks.rotate_webhook_secret("we_1", True),
    webhooks.try_webhook("we_1", "image.job.failed"),
    species.draw_species("blue-jay", "Blue jay", "Cyanocitta cristata", {"pose": "perched", "variation": 2}),
    rights.erase("user-1"),
    rights.erase("user-1", "birds"),
    rights.get_erasure("erasure_1"),
    rights.list_erasures(5, None, administers=True),
    rights.export("user-1"),
    rights.export(None, "birds"),
    administration.create_tenant("birds", {"tier": "standard"}),
    administration.change_tenant("birds", {"tier": "standard"}),
    administration.tenant("birds"),
    administration.tenants(None),
    administration.create_key("birds", {"name": "web"}),
    administration.rotate_key("key_1", {"overlap_seconds": 60}),
    administration.revoke_key("key_1"),
    administration.keys("birds", None),
    administration.usage("birds", {"first_day": "2026-11-01"}),
    administration.audit(0),
]


def operation_of(call: Call[Any]) -> dict[str, Any]:
    """What the document says of it; raises LookupError when it says nothing."""
    path = call.path.partition("?")[0]
    for template, methods in document()["paths"].items():
        pattern = re.sub(r"{\w+}", "[^/]+", template)
        if re.fullmatch(pattern, path) and call.method.lower() in methods:
            operation: dict[str, Any] = methods[call.method.lower()]
            return operation
    raise LookupError(f"{call.method} {path}")


def named(call: Call[Any]) -> str:
    return f"{call.method} {call.path}"


@pytest.mark.parametrize("call", CALLS, ids=named)
def test_a_request_is_one_that_the_document_knows(call: Call[Any]) -> None:
    operation = operation_of(call)
    query = {each["name"] for each in operation.get("parameters", []) if each["in"] == "query"}
    stated = {each.partition("=")[0] for each in call.path.partition("?")[2].split("&") if each}
    assert stated <= query
    if call.json is not None:
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        jsonschema_rs.validate({**schema, "components": document()["components"]}, dict(call.json))
    if call.files is not None:
        [form] = operation["requestBody"]["content"].values()
        shape = document()["components"]["schemas"][form["schema"]["$ref"].rpartition("/")[2]]
        assert call.files.keys() | (call.fields or {}).keys() <= shape["properties"].keys()


@pytest.mark.parametrize("call", CALLS, ids=named)
def test_what_may_carry_a_key_does_so_that_it_can_be_sent_again(call: Call[Any]) -> None:
    headers = {each["name"] for each in operation_of(call).get("parameters", []) if each["in"] == "header"}
    streamed = call.json is not None and call.json.get("stream") is True
    assert (KEY_HEADER in call.headers) == (KEY_HEADER in headers and not streamed)
    assert call.repeatable or call.method != "GET"
    assert call.repeatable or KEY_HEADER not in call.headers


@pytest.mark.parametrize("call", CALLS, ids=named)
def test_what_is_read_of_an_answer_is_what_the_document_promises(call: Call[Any]) -> None:
    kind = value_read_by(call.read)
    if kind is None:
        return
    [media] = [each for name, each in operation_of(call)["responses"]["200"]["content"].items() if "json" in name]
    promised(kind, media["schema"])


def value_read_by(read: Callable[..., Any]) -> type[Value] | None:
    """The value that `value_of` or `page_of` made the reader for."""
    cells = [each.cell_contents for each in getattr(read, "__closure__", None) or ()]
    kinds = [each for each in cells if isinstance(each, type) and issubclass(each, Value)]
    return kinds[0] if kinds else None


def promised(kind: type[Value], schema: dict[str, Any]) -> None:
    """Fails where a field that is read is not in the schema, or is needed and may be missing."""
    shape = referenced(schema)
    if "data" in shape["properties"] and "data" not in kind.model_fields:
        shape = referenced(shape["properties"]["data"]["items"])
    for name, field in kind.model_fields.items():
        if not field.is_required() and name not in shape["properties"]:
            continue  # what only some answers have
        assert name in shape["properties"], (kind.__name__, name)
        if field.is_required():
            assert name in shape["required"], (kind.__name__, name)
        inner = get_args(field.annotation)[0] if get_origin(field.annotation) is list else field.annotation
        if isinstance(inner, type) and issubclass(inner, Value):
            described = shape["properties"][name]
            promised(inner, described.get("items", described))


def referenced(schema: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = document()["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return found


def test_a_key_is_another_for_each_request_and_the_same_for_its_repetition() -> None:
    first, second = (pictures.draw(PROMPT, {}, 1).headers[KEY_HEADER] for _ in range(2))
    assert first != second
    call = pictures.draw(PROMPT, {}, 1)
    assert pictures.at_once(call).headers[KEY_HEADER] == call.headers[KEY_HEADER]
    assert keyed(call, "mine").headers[KEY_HEADER] == "mine"


@pytest.mark.parametrize("name", ["../v1/usage", "a/b", "a?b=c", "a#b", "%2e", "ü ", "\r\nX: y"])
def test_whatever_an_id_is_it_is_one_step_of_a_path(name: str) -> None:
    path = jobs.get_job(name).path
    assert path.startswith("/v1/jobs/")
    assert not set(path.removeprefix("/v1/jobs/")) & set("/?#\r\n ")
