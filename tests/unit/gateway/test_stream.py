"""`stream: true`: previews, the picture, and how a stream says that there is none."""

from __future__ import annotations

import base64
import itertools
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest
from openai.types import ImageGenCompletedEvent, ImageGenPartialImageEvent

from bowerbird.contracts import Action, ImageDecisions, Picture
from bowerbird.errors import StageFull

from .conftest import PROMPT, StartGateway, draw
from .stand_ins import DIGEST, MODEL, StandIns, decision, frame, preview, verdicts

GENERATIONS = "/v1/images/generations"
DRAWN = frame(7, 3_200)


@dataclass
class Events:
    """A stream as it arrives."""

    answer: httpx2.Response
    lines: Iterator[str]

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        """Name and data of each event; a comment's name is empty."""
        while block := list(itertools.takewhile(bool, self.lines)):
            if block[0].startswith(": "):
                yield "", json.loads(block[0][2:])
            else:
                assert [line.partition(": ")[0] for line in block] == ["event", "data"]
                yield block[0].removeprefix("event: "), json.loads(block[1].removeprefix("data: "))

    def until(self, name: str) -> Any:
        """The data of the next event of this name."""
        return next(data for found, data in self if found == name)

    def named(self) -> list[tuple[str, Any]]:
        """All that is still to come, without the comments."""
        return [(name, data) for name, data in self if name]


@contextmanager
def streamed(gateway: httpx2.Client, headers: dict[str, str] | None = None, **fields: Any) -> Iterator[Events]:
    body = {"prompt": PROMPT, "seed": 7, "stream": True, **fields}
    with gateway.stream("POST", GENERATIONS, json=body, headers=headers) as answer:
        yield Events(answer, answer.iter_lines())


@pytest.fixture
def held(stages: StandIns) -> Iterator[threading.Event]:
    """Frames are drawn when this is set, previews before."""
    stages.behaviour.until_frames = threading.Event()
    yield stages.behaviour.until_frames
    stages.behaviour.until_frames.set()


def test_previews_come_while_it_is_drawn_and_the_picture_at_the_end(
    gateway: httpx2.Client, held: threading.Event
) -> None:
    with streamed(gateway, partial_images=2, steps=12, output_format="webp", user="hash") as events:
        assert events.answer.headers["content-type"].startswith("text/event-stream")
        previews = [events.until("image_generation.partial_image") for _ in range(2)]
        held.set()
        [(name, completed)] = events.named()

    assert name == "image_generation.completed"
    assert [each["partial_image_index"] for each in previews] == [0, 1]
    assert [base64.b64decode(each["b64_json"]) for each in previews] == [preview(7, 3), preview(7, 6)]
    assert base64.b64decode(completed["b64_json"]) == DRAWN
    for each in (*previews, completed):
        assert (each["size"], each["quality"], each["output_format"]) == ("32x32", "medium", "webp")
    assert completed["safety_identifier"] == "hash"
    assert completed["bowerbird"]["images"][0]["seed"] == 7
    ImageGenPartialImageEvent.model_validate(previews[0], strict=True)
    ImageGenCompletedEvent.model_validate(completed, strict=True)


def test_a_preview_is_checked_and_labelled_as_a_picture_is(
    gateway: httpx2.Client, stages: StandIns, held: threading.Event
) -> None:
    with streamed(gateway, partial_images=1, steps=12) as events:
        events.until("image_generation.partial_image")
        held.set()
        events.named()

    checks, published = stages.asked("/check_images"), stages.asked("/publish")
    assert sorted(each.frames for each in checks) == sorted([[preview(7, 3)], [DRAWN]])
    assert [each.frames for each in published] == [[preview(7, 3)], [DRAWN]]
    unfinished, finished = (each.asked for each in published)
    assert (unfinished.preview.step, unfinished.preview.steps, str(unfinished.preview.size)) == (3, 12, "32x32")
    assert finished.preview is None
    assert unfinished.origin.seed_digests == finished.origin.seed_digests
    assert (unfinished.origin.request_id, unfinished.origin.policy) == (
        finished.origin.request_id,
        finished.origin.policy,
    )


@pytest.mark.parametrize("partial_images", [None, 0])
def test_a_stream_without_previews_is_one_event(
    gateway: httpx2.Client, stages: StandIns, partial_images: int | None
) -> None:
    with streamed(gateway, partial_images=partial_images) as events:
        assert [name for name, _ in events.named()] == ["image_generation.completed"]
    assert stages.asked("/draw")[0].asked.preview_steps == 0


@pytest.mark.parametrize(("steps", "shown_after"), [(1, []), (2, [1]), (4, [1, 2, 3]), (20, [5, 10, 15])])
def test_the_first_preview_comes_early_and_the_last_before_the_end(
    gateway: httpx2.Client, stages: StandIns, held: threading.Event, steps: int, shown_after: list[int]
) -> None:
    with streamed(gateway, partial_images=3, steps=steps) as events:
        shown = [events.until("image_generation.partial_image") for _ in shown_after]
        held.set()
        assert [name for name, _ in events.named()] == ["image_generation.completed"]
    assert [base64.b64decode(each["b64_json"]) for each in shown] == [preview(7, step) for step in shown_after]


def blocking(*turns: int) -> Any:
    """Verdicts that block in these calls, counted from 0."""
    calls = itertools.count()

    def decide(count: int) -> ImageDecisions:
        return verdicts(count, frozenset({0}) if next(calls) in turns else frozenset())

    return decide


def test_a_preview_that_safety_stops_is_withheld_and_the_picture_comes(
    gateway: httpx2.Client, stages: StandIns, held: threading.Event
) -> None:
    stages.behaviour.verdicts = blocking(0)
    with streamed(gateway, partial_images=2, steps=12) as events:
        shown = events.until("image_generation.partial_image")
        held.set()
        [(name, _)] = events.named()

    assert name == "image_generation.completed"
    assert (shown["partial_image_index"], base64.b64decode(shown["b64_json"])) == (0, preview(7, 6))


def test_a_picture_that_safety_refuses_ends_the_stream_with_an_error(
    gateway: httpx2.Client, stages: StandIns, held: threading.Event
) -> None:
    stages.behaviour.verdicts = blocking(1)
    with streamed(gateway, partial_images=1, steps=12) as events:
        events.until("image_generation.partial_image")
        held.set()
        [(name, data)] = events.named()

    assert name == "error"
    assert data["type"] == "error"
    assert (data["error"]["code"], data["error"]["type"]) == ("image_blocked", "image_generation_user_error")
    assert data["error"]["reasons"] == ["nsfw"]


def test_a_preview_that_a_stage_fails_on_is_left_out(
    gateway: httpx2.Client, stages: StandIns, held: threading.Event
) -> None:
    calls = itertools.count()

    def wrong_once(picture: Picture) -> Picture:
        return picture.model_copy(update={"digest": DIGEST}) if next(calls) == 0 else picture

    stages.behaviour.published = wrong_once
    with streamed(gateway, partial_images=2, steps=12) as events:
        shown = events.until("image_generation.partial_image")
        held.set()
        assert [name for name, _ in events.named()] == ["image_generation.completed"]
    assert base64.b64decode(shown["b64_json"]) == preview(7, 6)
    assert 'bowerbird_previews_total{outcome="failed"}' in gateway.get("/metrics").text


def test_a_preview_by_another_model_than_its_label_would_name_never_leaves(
    gateway: httpx2.Client, stages: StandIns
) -> None:
    stages.behaviour.preview_digest = "sha256:" + "f" * 64
    with streamed(gateway, partial_images=3, steps=12) as events:
        assert [name for name, _ in events.named()] == ["image_generation.completed"]
    assert [each.frames for each in stages.asked("/publish")] == [[DRAWN]]


def test_a_client_that_hangs_up_stops_the_drawing(
    gateway: httpx2.Client, stages: StandIns, held: threading.Event
) -> None:
    with streamed(gateway, partial_images=1, steps=12) as events:
        events.until("image_generation.partial_image")

    assert stages.draws_stopped.wait(60)
    assert len(stages.asked("/publish")) == 1


def test_what_is_refused_before_there_is_something_to_wait_for_has_its_own_status(
    gateway: httpx2.Client, stages: StandIns
) -> None:
    stages.behaviour.decide = lambda check: decision(check, Action.BLOCK)
    answer = draw(gateway, stream=True)

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "moderation_blocked")
    assert not stages.asked("/draw")


def test_what_fails_while_it_is_drawn_is_the_last_event(gateway: httpx2.Client, stages: StandIns) -> None:
    stages.behaviour.answers["/judge"] = lambda: StageFull("full", retry_after_seconds=3)
    with streamed(gateway) as events:
        assert events.answer.status_code == 200
        [(name, data)] = events.named()

    assert (name, data["error"]["code"], data["error"]["retry_after_seconds"]) == ("error", "stage_full", 3)


def test_who_waits_is_told_its_place(start_gateway: StartGateway, stages: StandIns, held: threading.Event) -> None:
    stages.behaviour.described = MODEL.model_copy(update={"slots": 1})
    gateway = start_gateway()
    with streamed(gateway) as first, streamed(gateway, seed=8) as second:
        next(data for _, data in second if data.get("position") == 1)
        held.set()
        assert [name for name, _ in first.named()] == ["image_generation.completed"]
        assert [name for name, _ in second.named()] == ["image_generation.completed"]


def test_a_picture_that_was_drawn_before_is_one_event(start_gateway: StartGateway, stages: StandIns) -> None:
    gateway = start_gateway(result_bytes=10_000_000)
    assert draw(gateway, seed=7).status_code == 200
    with streamed(gateway, partial_images=3, steps=20) as events:
        [(name, completed)] = events.named()

    assert (name, completed["bowerbird"]["source"]) == ("image_generation.completed", "stored")
    assert len(stages.asked("/draw")) == 1


@pytest.mark.parametrize("header", [{"Idempotency-Key": "k"}, {"Prefer": "respond-async"}])
def test_a_job_is_not_streamed(gateway: httpx2.Client, stages: StandIns, header: dict[str, str]) -> None:
    answer = draw(gateway, headers=header, stream=True)

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "stream")
    assert "/v1/jobs/{id}/events" in answer.json()["error"]["message"]
    assert not stages.seen


def test_previews_of_a_model_that_has_none_are_refused(start_gateway: StartGateway, stages: StandIns) -> None:
    stages.behaviour.described = MODEL.model_copy(update={"previews": False})
    gateway = start_gateway()

    answer = draw(gateway, stream=True, partial_images=1)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "unknown_parameter")
    assert answer.json()["error"]["param"] == "partial_images"
    with streamed(gateway, partial_images=0) as events:
        assert [name for name, _ in events.named()] == ["image_generation.completed"]


def test_what_was_streamed_is_written_down_as_used(gateway: httpx2.Client) -> None:
    def requests() -> int:
        return sum(each["requests"] for each in gateway.get("/v1/usage").json()["data"])

    before = requests()
    with streamed(gateway) as events:
        events.named()
    until = time.monotonic() + 60
    while requests() == before:
        assert time.monotonic() < until
