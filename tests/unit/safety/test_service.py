"""The routes, through an ASGI transport."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import AsyncIterator, Sequence

import httpx
import numpy as np
import pytest

from bowerbird import __version__
from bowerbird.contracts import (
    DEADLINE_HEADER,
    Action,
    Contract,
    Decision,
    ImageCheck,
    ImageDecisions,
    PromptCheck,
    SafetyDescription,
)
from bowerbird.frames import npy
from bowerbird.parts import CONTENT_TYPE, END_OF_STREAM, Kind, part
from bowerbird.safety.images import ImagePipeline
from bowerbird.safety.pipeline import PromptPipeline
from bowerbird.safety.policy import HelpTexts
from bowerbird.safety.service import Checks, app, routes
from bowerbird.training.drawing import draw
from bowerbird.training.pictures import scene_at
from bowerbird.worker import create_worker_app

from .conftest import FixedGate
from .test_images import FixedImageGate

SECRET = "zebra finch of nobody"
BIRD = npy(draw(scene_at(977, 1), 64)[None])
BLACK = npy(np.zeros((1, 64, 64, 3), np.uint8))


def parts(request: Contract, frames: Sequence[bytes], end: bytes = END_OF_STREAM) -> bytes:
    return part(Kind.REQUEST, request) + b"".join(part(Kind.FRAMES, frame) for frame in frames) + end


async def post_images(client: httpx.AsyncClient, body: bytes, **headers: str) -> httpx.Response:
    return await client.post("/check_images", content=body, headers={"Content-Type": CONTENT_TYPE} | headers)


def client_of(checks: Checks | None) -> httpx.AsyncClient:
    own = create_worker_app("safety", routes)
    if checks is not None:
        own.state.checks = checks
    return httpx.AsyncClient(transport=httpx.ASGITransport(own), base_url="http://safety")


async def test_what_it_decides_by_is_described_and_stands_in_every_decision(client: httpx.AsyncClient) -> None:
    described = SafetyDescription.model_validate_json((await client.get("/describe")).content)
    decision = Decision.model_validate_json((await client.post("/check_prompt", json={"prompt": "a robin"})).content)
    assert (described.policy, described.version) == (decision.policy, __version__)


async def test_prompt_is_checked(client: httpx.AsyncClient) -> None:
    response = await client.post("/check_prompt", json={"prompt": "a robin for anna@example.org", "locale": "de"})
    assert response.status_code == 200
    decision = Decision.model_validate_json(response.content)
    assert (decision.action, decision.redacted_prompt) == (Action.REDACT, "a robin for <EMAIL_ADDRESS>")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"prompt": ""}, "prompt"),
        ({"prompt": SECRET * 200}, "prompt"),
        ({"prompt": SECRET, "colour": "red"}, "colour"),
        ({"negative_prompt": SECRET}, "prompt"),
        ({"prompt": SECRET, "locale": SECRET * 3}, "locale"),
    ],
)
async def test_bad_request_names_the_field_and_quotes_nothing(
    client: httpx.AsyncClient, body: dict[str, str], param: str
) -> None:
    response = await client.post("/check_prompt", json=body)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param
    assert SECRET not in response.text


async def test_frames_are_judged_in_order(client: httpx.AsyncClient) -> None:
    response = await post_images(client, parts(ImageCheck(count=3), [BIRD, BLACK, BIRD]))
    assert response.status_code == 200
    decisions = ImageDecisions.model_validate_json(response.content)
    assert [(each.index, each.action) for each in decisions.verdicts] == [
        (0, Action.ALLOW),
        (1, Action.BLOCK),
        (2, Action.ALLOW),
    ]


async def test_frames_that_arrive_byte_by_byte_are_judged(client: httpx.AsyncClient) -> None:
    async def trickle() -> AsyncIterator[bytes]:
        body = parts(ImageCheck(count=1), [BIRD])
        for start in range(0, len(body), 97):
            yield body[start : start + 97]

    response = await client.post("/check_images", content=trickle(), headers={"Content-Type": CONTENT_TYPE})
    assert response.status_code == 200


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (parts(ImageCheck(count=2), [BIRD]), "1 frames came, the request announces 2"),
        (parts(ImageCheck(count=1), [BIRD, BIRD]), "More frames came than the 1"),
        (parts(PromptCheck(prompt=SECRET), [BIRD]), "Field required"),
        (part(Kind.FRAMES, BIRD) + END_OF_STREAM, "first part must be the request"),
        (part(Kind.REQUEST, ImageCheck(count=1)) + part(Kind.PICTURE, BIRD) + END_OF_STREAM, "only frames may follow"),
        (parts(ImageCheck(count=1), [npy(np.zeros((2, 8, 8, 3), np.uint8))]), "must be one picture"),
        (parts(ImageCheck(count=1), [b"no array"]), "not a .npy"),
        (parts(ImageCheck(count=1), [BIRD], end=b""), "closing boundary"),
        (b"", "not a whole stream"),
    ],
)
async def test_stream_that_breaks_the_contract_is_never_judged(
    client: httpx.AsyncClient, body: bytes, told: str
) -> None:
    response = await post_images(client, body)
    assert response.status_code == 400
    assert told in response.json()["error"]["message"]
    assert SECRET not in response.text


async def test_failed_gate_answers_503_with_retry_after(
    checks: Checks, help_texts: HelpTexts, log: list[logging.LogRecord]
) -> None:
    broken = dataclasses.replace(
        checks,
        prompts=PromptPipeline(checks.policy, help_texts, [FixedGate(OSError(SECRET))]),
        images=ImagePipeline(checks.policy, [FixedImageGate(OSError(SECRET))]),
    )
    async with client_of(broken) as client:
        answers = [
            await client.post("/check_prompt", json={"prompt": SECRET}),
            await post_images(client, parts(ImageCheck(count=1), [BIRD])),
        ]
    for answer in answers:
        assert answer.status_code == 503
        assert int(answer.headers["Retry-After"]) > 0
        assert answer.json()["error"]["message"].startswith("safety")
        assert SECRET not in answer.text
    assert SECRET not in str([vars(record) for record in log])


async def test_service_that_is_still_loading_answers_503() -> None:
    async with client_of(None) as client:
        response = await client.post("/check_prompt", json={"prompt": SECRET})
    assert response.status_code == 503
    assert response.headers["Retry-After"] == "1"


async def test_deadline_that_passed_is_an_error_and_no_decision(client: httpx.AsyncClient) -> None:
    many = parts(ImageCheck(count=20), [BIRD] * 20)
    response = await post_images(client, many, **{DEADLINE_HEADER: "1"})
    assert response.status_code == 503
    assert response.json()["error"]["code"] == "deadline_exceeded"


async def test_decision_carries_no_trace_of_the_caller(client: httpx.AsyncClient, log: list[logging.LogRecord]) -> None:
    """Log lines of decisions are written outside of the request's trace: see the service's docstring."""
    from opentelemetry import trace

    seen: list[bool] = []

    class Look(logging.Filter):
        def filter(self, record: logging.LogRecord) -> bool:
            seen.append(trace.get_current_span().get_span_context().is_valid)
            return True

    look, logger = Look(), logging.getLogger("bowerbird.safety.pipeline")
    logger.addFilter(look)
    try:
        await client.post(
            "/check_prompt",
            json={"prompt": "i want to die"},
            headers={"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
        )
    finally:
        logger.removeFilter(look)
    assert seen == [False]


def test_app_that_bentoml_mounts_has_every_route() -> None:
    paths = {"/describe", "/check_prompt", "/check_images", "/check_clips", "/drain"}
    assert {getattr(route, "path", None) for route in app.routes} == paths
