"""What a request may not say: each is a 4xx in OpenAI's error shape, names its field, and reaches no stage."""

from __future__ import annotations

import json
import socket
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from bowerbird.errors import error_from_body

from .conftest import StartGateway
from .stand_ins import StandIns

GENERATIONS = "/v1/images/generations"
SECRET = "zzsecretzz"  # stands in every prompt below and in no answer

# fields beside a good prompt, status, code, param, what the message must say is accepted
BadField = tuple[dict[str, Any], int, str, str, str]
BAD_FIELDS: list[BadField] = [
    ({"prompt": ""}, 400, "invalid_value", "prompt", "1 to 2000 characters"),
    ({"prompt": " \n "}, 400, "invalid_value", "prompt", "not all of them spaces"),
    ({"prompt": SECRET * 201}, 400, "invalid_value", "prompt", "1 to 2000 characters"),
    ({"prompt": [SECRET]}, 400, "invalid_value", "prompt", "1 to 2000 characters"),
    ({"prompt": None}, 400, "invalid_value", "prompt", "required"),
    ({"prompt": None, "promt": "x"}, 400, "unknown_parameter", "promt", "Accepted: prompt"),
    ({"n": 0}, 400, "invalid_value", "n", "greater than or equal to 1"),
    ({"n": 11}, 400, "invalid_value", "n", "11 is not accepted. Input should be less than or equal to 10"),
    ({"n": "3"}, 400, "invalid_value", "n", '"3" is not accepted'),
    ({"n": True}, 400, "invalid_value", "n", "integer"),
    ({"n": 1.5}, 400, "invalid_value", "n", "integer"),
    ({"n": [1]}, 400, "invalid_value", "n", "a list is not accepted"),
    ({"n": 6, "candidates": 4}, 400, "invalid_value", "n", "n x candidates up to 20"),
    ({"n": 6, "quality": "xhigh"}, 400, "invalid_value", "n", "quality xhigh draws 4 candidates"),
    ({"size": "64"}, 400, "invalid_value", "size", "WIDTHxHEIGHT"),
    ({"size": "0x64"}, 400, "invalid_value", "size", "WIDTHxHEIGHT"),
    ({"size": 64}, 400, "invalid_value", "size", "WIDTHxHEIGHT"),
    ({"size": "1024x1024"}, 400, "unsupported_size", "size", "'auto', '32x32', '64x32'"),
    ({"model": "dall-e-3"}, 404, "model_not_found", "model", "'fledgling'"),
    ({"model": "m" * 201}, 400, "invalid_value", "model", "200 characters"),
    ({"output_format": "svg"}, 400, "invalid_value", "output_format", "'png', 'webp', 'jpeg' or 'gif'"),
    ({"output_format": "bmp"}, 400, "invalid_value", "output_format", "'png', 'webp', 'jpeg' or 'gif'"),
    ({"output_format": "gif", "n": 2}, 400, "invalid_value", "n", "Accepted: 1"),
    ({"output_format": "gif", "stream": True}, 400, "invalid_value", "stream", "cannot be streamed"),
    ({"output_format": "gif", "partial_images": 1}, 400, "unknown_parameter", "partial_images", "no effect on clips"),
    ({"output_format": "gif", "output_compression": 50}, 400, "unknown_parameter", "output_compression", "webp"),
    ({"output_format": "gif", "lora": [{"id": "ink"}]}, 400, "unknown_parameter", "lora", "no effect on clips"),
    ({"output_format": "gif", "cache": "any"}, 400, "unknown_parameter", "cache", "always drawn"),
    ({"output_format": "gif", "candidates": 5}, 400, "invalid_value", "candidates", "1 to 4"),
    ({"output_format": "gif", "frame_count": 1}, 400, "invalid_value", "frame_count", "greater than or equal to 2"),
    ({"output_format": "gif", "frame_count": 121}, 400, "invalid_value", "frame_count", "less than or equal to 120"),
    ({"output_format": "gif", "frame_duration_ms": 41}, 400, "invalid_value", "frame_duration_ms", "equal to 42"),
    ({"output_format": "gif", "size": "1024x1024"}, 400, "unsupported_size", "size", "'32x32', '64x32'"),
    ({"output_compression": 50}, 400, "unknown_parameter", "output_compression", "webp or jpeg"),
    (
        {"output_compression": 101, "output_format": "webp"},
        400,
        "invalid_value",
        "output_compression",
        "less than or equal to 100",
    ),
    ({"response_format": "url"}, 400, "invalid_value", "response_format", "'b64_json'"),
    ({"background": "transparent"}, 400, "invalid_value", "background", "'auto' or 'opaque'"),
    ({"moderation": "low"}, 400, "invalid_value", "moderation", "not the caller's to weaken"),
    ({"quality": "hd"}, 400, "invalid_value", "quality", "retired"),
    ({"quality": "best"}, 400, "invalid_value", "quality", "'low', 'medium', 'high'"),
    ({"stream": 0}, 400, "invalid_value", "stream", "Accepted: true or false"),
    ({"partial_images": 0}, 400, "unknown_parameter", "partial_images", "with stream true"),
    ({"partial_images": 4, "stream": True}, 400, "invalid_value", "partial_images", "less than or equal to 3"),
    ({"n": 2, "stream": True}, 400, "invalid_value", "n", "1 with stream true"),
    ({"candidates": 2, "stream": True}, 400, "invalid_value", "candidates", "1 with stream true"),
    ({"quality": "high", "stream": True}, 400, "invalid_value", "candidates", "quality high draws 2 candidates"),
    ({"frame_count": 4}, 400, "unknown_parameter", "frame_count", "gif or webp"),
    ({"frame_duration_ms": 100}, 400, "unknown_parameter", "frame_duration_ms", "gif or webp"),
    ({"style": "vivid"}, 400, "unknown_parameter", "style", "in the prompt"),
    ({"complexity": "low"}, 400, "unknown_parameter", "complexity", "quality or steps"),
    ({"svg": {"model": "x"}}, 400, "unknown_parameter", "svg", "diffusion"),
    ({"num_inference_steps": 4}, 400, "unknown_parameter", "num_inference_steps", "steps, guidance_scale, candidates"),
    ({"x" * 5000: None}, 400, "unknown_parameter", "x" * 64, "Accepted: prompt"),
    ({"seed": -1}, 400, "invalid_value", "seed", "greater than or equal to 0"),
    ({"seed": 2**63}, 400, "invalid_value", "seed", "less than or equal to 9223372036854775807"),
    ({"steps": 0}, 400, "invalid_value", "steps", "greater than or equal to 1"),
    ({"steps": 51}, 400, "invalid_value", "steps", "less than or equal to 50"),
    ({"steps": 31}, 400, "invalid_value", "steps", "1 to 30"),
    ({"guidance_scale": 0.5}, 400, "invalid_value", "guidance_scale", "greater than or equal to 1"),
    ({"guidance_scale": 16}, 400, "invalid_value", "guidance_scale", "1 to 15"),
    ({"guidance_scale": "high"}, 400, "invalid_value", "guidance_scale", "valid number"),
    ({"candidates": 9}, 400, "invalid_value", "candidates", "less than or equal to 8"),
    ({"negative_prompt": ""}, 400, "invalid_value", "negative_prompt", "1 to 2000 characters"),
    (
        {"negative_prompt": SECRET, "guidance_scale": 1},
        400,
        "unknown_parameter",
        "negative_prompt",
        "guidance_scale above 1",
    ),
    ({"user": SECRET * 30}, 400, "invalid_value", "user", "256 characters"),
    ({"safety_identifier": 7}, 400, "invalid_value", "safety_identifier", "valid string"),
]


@pytest.mark.parametrize("case", BAD_FIELDS, ids=lambda case: str(case[0])[:40])
def test_bad_field_is_named_with_what_is_accepted(gateway: httpx2.Client, stages: StandIns, case: BadField) -> None:
    fields, status, code, param, accepted = case
    answer = gateway.post(GENERATIONS, json={"prompt": f"a {SECRET} robin", **fields})

    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (status, code, param)
    assert error["type"] == "invalid_request_error"
    assert accepted in error["message"]
    assert SECRET not in answer.text
    assert error_from_body(answer.status_code, answer.json()) is not None
    assert not stages.seen


# body, Content-Type, status, code, param
BadBody = tuple[bytes, str, int, str, str | None]
BAD_BODIES: list[BadBody] = [
    (b"", "application/json", 400, "invalid_value", None),
    (b"a robin", "application/json", 400, "invalid_value", None),
    (b'{"prompt": "x"', "application/json", 400, "invalid_value", None),
    (b'{"prompt": "\xff"}', "application/json", 400, "invalid_value", None),
    (b'{"prompt": "\\ud800"}', "application/json", 400, "invalid_value", None),
    (b'{"prompt": "x", "n": NaN}', "application/json", 400, "invalid_value", "n"),
    (b'{"prompt": "x", "guidance_scale": Infinity}', "application/json", 400, "invalid_value", "guidance_scale"),
    (b'{"prompt": "x", "guidance_scale": 1e999}', "application/json", 400, "invalid_value", "guidance_scale"),
    (b'{"prompt": "x", "n": 1' + b"0" * 9000 + b"}", "application/json", 400, "invalid_value", None),
    (b"[" * 100_000, "application/json", 400, "invalid_value", None),
    (b"[]", "application/json", 400, "invalid_value", None),
    (b'"a robin"', "application/json", 400, "invalid_value", None),
    (b"null", "application/json", 400, "invalid_value", None),
    (b'{"prompt": "x"}', "text/plain", 400, "invalid_value", "Content-Type"),
    (b'{"prompt": "x"}', "", 400, "invalid_value", "Content-Type"),
    (b"prompt=x", "application/x-www-form-urlencoded", 400, "invalid_value", "Content-Type"),
    (json.dumps({"prompt": "x" * 1_000_000}).encode(), "application/json", 413, "body_too_large", None),
]


@pytest.mark.parametrize("case", BAD_BODIES, ids=lambda case: str(case[0])[:40])
def test_bad_body_is_refused(gateway: httpx2.Client, stages: StandIns, case: BadBody) -> None:
    body, media_type, status, code, param = case
    answer = gateway.post(GENERATIONS, content=body, headers={"Content-Type": media_type})

    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (status, code, param)
    assert not stages.seen


def test_body_without_a_stated_length_is_refused_at_the_limit(gateway: httpx2.Client, stages: StandIns) -> None:
    answer = gateway.post(
        GENERATIONS, content=iter([b" " * 100_000] * 30), headers={"Content-Type": "application/json"}
    )

    assert answer.status_code == 413
    assert not stages.seen


def test_body_that_breaks_off_does_no_harm(gateway: httpx2.Client, stages: StandIns) -> None:
    where = urlsplit(str(gateway.base_url))
    with socket.create_connection((where.hostname or "", where.port or 0)) as client:
        client.sendall(
            b"POST /v1/images/generations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b'Content-Length: 100\r\n\r\n{"prompt": "a'
        )
    assert gateway.get("/livez").status_code == 200
    assert not stages.seen


def test_null_counts_as_absent(gateway: httpx2.Client) -> None:
    known = {"n": None, "size": None, "seed": None, "quality": None, "style": None, "partial_images": None}
    assert gateway.post(GENERATIONS, json={"prompt": "a robin", **known}).status_code == 200


@pytest.mark.parametrize("deadline", ["0", "-1", "1.5", "soon", "3600001", "9" * 40, "٣"])
def test_absurd_deadline_is_refused(gateway: httpx2.Client, stages: StandIns, deadline: str) -> None:
    headers = [(b"bowerbird-deadline-ms", deadline.encode())]
    answer = gateway.post(GENERATIONS, json={"prompt": "a robin"}, headers=headers)

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "Bowerbird-Deadline-Ms")
    assert not stages.seen


@pytest.mark.parametrize("stated", ["", "urgent", "Batch"])
def test_class_that_does_not_exist_is_refused(gateway: httpx2.Client, stages: StandIns, stated: str) -> None:
    answer = gateway.post(GENERATIONS, json={"prompt": "a robin"}, headers={"Bowerbird-Class": stated})

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "Bowerbird-Class")
    assert "interactive, batch" in answer.json()["error"]["message"]
    assert not stages.seen


def test_more_pixels_than_one_request_may_have_are_refused(start_gateway: StartGateway, stages: StandIns) -> None:
    gateway = start_gateway(max_request_pixels=4096)

    assert gateway.post(GENERATIONS, json={"prompt": "x", "n": 4}).status_code == 200
    answer = gateway.post(GENERATIONS, json={"prompt": "x", "n": 4, "size": "64x32"})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "n")
    assert "up to 4096" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v1/images/variations", "/v1/videos/", "/v1/models/", "/v1/images/generations/"]
)
def test_path_that_does_not_exist_is_404_in_openais_shape(gateway: httpx2.Client, path: str) -> None:
    answer = gateway.post(path, json={})

    assert answer.status_code == (405 if path == "/v1/models/" else 404)
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert "x-request-id" in answer.headers


def test_wrong_method_is_405_and_says_which_is_right(gateway: httpx2.Client) -> None:
    answer = gateway.get(GENERATIONS)

    assert (answer.status_code, answer.json()["error"]["code"]) == (405, "method_not_supported")
    assert answer.headers["allow"] == "POST"
