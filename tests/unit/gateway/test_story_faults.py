"""Every way in which a request ends early: a stage that fails, a deadline, a caller who hangs up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest
from starlette.responses import JSONResponse, PlainTextResponse, Response

from bowerbird.contracts import FrameFacts, ImageDecisions, PromptCheck
from bowerbird.errors import (
    LabelFailed,
    PromptTooLong,
    RouteUnknown,
    StageUnavailable,
)
from bowerbird.parts import Kind, error_part, part

from .conftest import PROMPT, StartGateway, closed_url, draw, pictures
from .leaving import leave_when
from .stand_ins import (
    DIGEST,
    MODEL,
    StandIns,
    decision,
    frame,
    judgement,
    stated,
    verdicts,
)


@pytest.fixture
def gateway(gateway: httpx2.Client, stages: StandIns) -> Iterator[httpx2.Client]:
    """A test may leave text-to-image ejected, for longer after each loss; a picture that is drawn ends that."""
    yield gateway
    stages.reset()
    assert draw(gateway).status_code == 200


# ------------------------------------------------------------------------------------------------- stages that fail


def safety_says(**changes: Any) -> Callable[[PromptCheck], Any]:
    return lambda check: decision(check, **changes)


BROKEN: dict[str, Callable[[StandIns], None]] = {
    "stream ends after a frame": lambda s: setattr(s.behaviour, "after_frames", lambda: b""),
    "stream ends in a frame": lambda s: setattr(
        s.behaviour, "after_frames", lambda: b"--bowerbird-part\r\nBowerbird-Part: frames\r\n\r\nhalf"
    ),
    "stage dies in its stream": lambda s: setattr(s.behaviour, "after_frames", _die),
    "frame that nobody asked for": lambda s: setattr(
        s.behaviour, "after_frames", lambda: part(Kind.FRAMES, b"x", FrameFacts(index=7, seed=7))
    ),
    "stream closes without done": lambda s: setattr(s.behaviour, "after_frames", lambda: b"--bowerbird-part--\r\n"),
    "verdict is missing": lambda s: setattr(s.behaviour, "verdicts", lambda count: verdicts(count - 1)),
    "judgement is about fewer frames": lambda s: setattr(
        s.behaviour, "judge", lambda asked: judgement(asked.model_copy(update={"candidates": 1}))
    ),
    "ranking names a foreign frame": lambda s: setattr(s.behaviour, "judge", _foreign_ranking),
    "picture has another digest": lambda s: setattr(
        s.behaviour, "published", lambda picture: picture.model_copy(update={"digest": DIGEST})
    ),
    "picture has another index": lambda s: setattr(
        s.behaviour, "published", lambda picture: picture.model_copy(update={"index": 1})
    ),
    "prompt allowed without a text": lambda s: setattr(s.behaviour, "decide", safety_says(redacted_prompt=None)),
    "verdicts are not JSON": lambda s: s.behaviour.answers.update(
        {"/check_images": lambda: PlainTextResponse("<html>")}
    ),
    "foreign page": lambda s: s.behaviour.answers.update({"/judge": lambda: PlainTextResponse("no", 500)}),
    "foreign JSON": lambda s: s.behaviour.answers.update({"/judge": lambda: JSONResponse([1], 418)}),
    "route is missing": lambda s: s.behaviour.answers.update({"/publish": lambda: RouteUnknown("no such path")}),
    "unknown error in the stream": lambda s: setattr(
        s.behaviour, "after_frames", lambda: error_part({"error": {"code": "unheard_of"}})
    ),
}


def _die() -> bytes:
    raise ConnectionError("the process is gone")


def _foreign_ranking(asked: Any) -> Any:
    judged = judgement(asked)
    ranking = judged.rankings[0].model_copy(update={"order": [0, 99]})
    return judged.model_copy(update={"rankings": [ranking]})


@pytest.mark.parametrize("fault", BROKEN)
def test_stage_that_breaks_its_contract_is_a_502_and_nothing_leaves(
    gateway: httpx2.Client, stages: StandIns, fault: str
) -> None:
    BROKEN[fault](stages)
    answer = draw(gateway, candidates=2)

    assert answer.status_code == 502
    assert answer.json()["error"]["code"] == "stage_broken"
    assert answer.json()["error"]["stage"] in {"safety", "text-to-image", "curation"}
    assert PROMPT not in answer.text


STATED: list[tuple[str, Callable[[StandIns], None], int, str]] = [
    (
        "before the stream",
        lambda s: s.behaviour.answers.update({"/draw": lambda: PromptTooLong("93 tokens of 75", param="prompt")}),
        400,
        "prompt_too_long",
    ),
    (
        "in the stream",
        lambda s: setattr(s.behaviour, "after_frames", lambda: stated(LabelFailed("no"))),
        500,
        "label_failed",
    ),
    (
        "by publishing",
        lambda s: s.behaviour.answers.update({"/publish": lambda: LabelFailed("no")}),
        500,
        "label_failed",
    ),
]


@pytest.mark.parametrize(("fault", "status", "code"), [each[1:] for each in STATED], ids=[each[0] for each in STATED])
def test_error_that_a_stage_states_reaches_the_caller_as_the_same_fact(
    gateway: httpx2.Client, stages: StandIns, fault: Callable[[StandIns], None], status: int, code: str
) -> None:
    fault(stages)
    answer = draw(gateway)

    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def test_foreign_503_is_a_stage_that_is_not_ready(gateway: httpx2.Client, stages: StandIns) -> None:
    stages.behaviour.answers["/draw"] = lambda: Response(status_code=503)
    answer = draw(gateway)

    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "stage_unavailable")


def test_safety_down_never_means_allowed(start_gateway: StartGateway, stages: StandIns) -> None:
    gateway = start_gateway(ready=("text-to-image", "curation"), safety_url=closed_url())
    answer = draw(gateway)

    assert answer.status_code == 503
    assert answer.json()["error"]["stage"] == "safety"
    assert int(answer.headers["retry-after"]) > 0
    assert not stages.seen


@pytest.mark.parametrize(("setting", "stage"), [("curation_url", "curation"), ("text_to_image_url", "text-to-image")])
def test_stage_that_is_down_is_named_before_anything_is_drawn(
    start_gateway: StartGateway, stages: StandIns, setting: str, stage: str
) -> None:
    gateway = start_gateway(ready=("safety",), **{setting: closed_url()})
    answer = draw(gateway)

    assert answer.status_code == 503
    assert answer.json()["error"]["stage"] == stage
    assert "in vain" not in answer.json()["error"]["message"], "it was never there: nobody waits for it"
    assert "retry-after" in answer.headers
    assert not stages.asked("/draw")


def test_other_model_is_described_again_after_it_drew(start_gateway: StartGateway, stages: StandIns) -> None:
    gateway = start_gateway()
    digest = "sha256:" + "d" * 64
    stages.behaviour.described = MODEL.model_copy(update={"digest": digest})
    stages.behaviour.drawn_digest = digest
    assert draw(gateway).status_code == 502

    for _ in range(3000):
        if gateway.get("/v1/models").json()["data"][0]["bowerbird"]["digest"] == digest:
            break
        time.sleep(0.02)
    assert draw(gateway).headers["bowerbird-model-digest"] == digest


# -------------------------------------------------------------------------------------------- ends before the end


def test_deadline_ends_the_work_and_says_when_to_come_back(gateway: httpx2.Client, stages: StandIns) -> None:
    stages.behaviour.until_frames = threading.Event()
    for milliseconds in (200, 2_000, 20_000):  # a slow machine does not come to the drawing within the first
        answer = draw(gateway, headers={"Bowerbird-Deadline-Ms": str(milliseconds)})
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "deadline_exceeded"
        assert "retry-after" in answer.headers
        if stages.asked("/draw"):
            break
    assert stages.draws_stopped.wait(60)
    assert not stages.asked("/publish")


def test_client_that_hangs_up_stops_the_drawing(gateway: httpx2.Client, stages: StandIns) -> None:
    stages.behaviour.until_frames = threading.Event()
    leave_when(lambda: bool(stages.asked("/draw")), gateway, prompt=PROMPT)

    assert stages.draws_stopped.wait(60)
    for _ in range(3000):
        if 'outcome="cancelled"' in gateway.get("/metrics").text:
            break
        time.sleep(0.02)
    assert 'outcome="cancelled",route="/v1/images/generations"' in gateway.get("/metrics").text
    assert not stages.asked("/publish")


def test_failing_judge_stops_the_drawing(gateway: httpx2.Client, stages: StandIns) -> None:
    stages.behaviour.seconds_per_step = 0.05
    stages.behaviour.answers["/judge"] = lambda: StageUnavailable("full", retry_after_seconds=3)
    answer = draw(gateway, steps=30)

    assert answer.status_code == 503
    assert answer.json()["error"]["stage"] == "curation"
    assert stages.draws_stopped.wait(60)


def test_many_requests_at_once_each_get_their_own_pictures(gateway: httpx2.Client, stages: StandIns) -> None:
    answers: dict[int, httpx2.Response] = {}

    def ask(seed: int) -> None:
        answers[seed] = draw(gateway, seed=seed, n=2)

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(0, 200, 10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    for seed, answer in answers.items():
        assert pictures(answer) == [frame(seed, 3_200), frame(seed + 1, 3_200)]
    assert len({answer.headers["x-request-id"] for answer in answers.values()}) == 20


def test_decision_ids_tell_which_verdicts_refused(gateway: httpx2.Client, stages: StandIns) -> None:
    stages.behaviour.verdicts = _all_blocked
    assert draw(gateway).json()["error"]["decision"] == "dec_2"


def _all_blocked(count: int) -> ImageDecisions:
    return verdicts(count, blocked=frozenset(range(count)))


@pytest.fixture
def address(_stand_ins: tuple[StandIns, str]) -> str:
    """Below which the stand-ins are."""
    return _stand_ins[1]


@pytest.mark.parametrize("stage", ["safety", "curation"])
def test_an_endpoint_that_is_dead_costs_no_picture_where_there_is_another(
    start_gateway: StartGateway, stages: StandIns, address: str, stage: str
) -> None:
    gateway = start_gateway(**{f"{stage}_url": f"{closed_url()}/{stage}, {address}/{stage}"})
    answers = [draw(gateway, seed=seed) for seed in range(3)]
    assert [each.status_code for each in answers] == [200] * 3
    assert len(stages.asked("/draw")) == 3, "what was drawn is not drawn again"
