"""The chain from a request to a picture, and every way in which it ends early."""

from __future__ import annotations

import base64
import hashlib
import hmac
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from starlette.responses import JSONResponse, PlainTextResponse, Response

from bowerbird.contracts import Action, FrameFacts, ImageDecisions, PromptCheck, PublishRequest
from bowerbird.errors import (
    LabelFailed,
    PromptTooLong,
    RouteUnknown,
    StageUnavailable,
)
from bowerbird.parts import Kind, error_part, part

from .conftest import StartGateway, closed_url
from .stand_ins import (
    DIGEST,
    MODEL,
    POLICY,
    StandIns,
    decision,
    frame,
    judgement,
    stated,
    verdicts,
)

PROMPT = "an american robin perched on a branch in winter"


def draw(gateway: httpx2.Client, headers: dict[str, str] | None = None, **fields: Any) -> httpx2.Response:
    return gateway.post("/v1/images/generations", json={"prompt": PROMPT, **fields}, headers=headers)


def pictures(answer: httpx2.Response) -> list[bytes]:
    return [base64.b64decode(each["b64_json"]) for each in answer.json()["data"]]


def test_each_picture_is_its_best_candidate_in_order(gateway: httpx2.Client, stages: StandIns) -> None:
    answer = draw(gateway, n=2, candidates=3, seed=100)

    assert answer.status_code == 200
    assert pictures(answer) == [frame(102, 3_200), frame(105, 3_200)]
    assert [each["seed"] for each in answer.json()["bowerbird"]["images"]] == [102, 105]
    assert [each["candidate"] for each in answer.json()["bowerbird"]["images"]] == [2, 2]


def test_judge_and_safety_see_every_candidate_in_order_although_they_are_drawn_in_another(
    gateway: httpx2.Client, stages: StandIns
) -> None:
    draw(gateway, n=2, candidates=2, seed=10)

    drawn = [frame(seed, 3_200) for seed in (10, 11, 12, 13)]
    assert [each.frames for each in stages.asked("/judge")] == [drawn]
    assert [each.frames for each in stages.asked("/check_images")] == [drawn]


def test_answer_headers_say_how_the_pictures_came_to_be(gateway: httpx2.Client) -> None:
    answer = draw(gateway, n=2, seed=5)

    assert answer.headers["bowerbird-model-digest"] == DIGEST
    assert answer.headers["bowerbird-seeds"] == "5, 6"
    assert answer.headers["bowerbird-scores"] == "0.000;prompt_match=0.250, 1.000;prompt_match=0.250"
    assert answer.headers["bowerbird-request-id"] == answer.headers["x-request-id"]
    assert answer.headers["bowerbird-request-id"] == answer.json()["bowerbird"]["request_id"]
    timings = [each.split(";")[0] for each in answer.headers["server-timing"].split(", ")]
    assert set(timings) == {"check_prompt", "draw", "draw.denoise", "judge", "check_images", "publish"}


def test_scores_header_stays_a_structured_field_whatever_a_score_is_called(
    gateway: httpx2.Client, stages: StandIns
) -> None:
    def odd(asked: Any) -> Any:
        judged = judgement(asked)
        score = judged.frames[0].scores[0]
        scores = [
            score.model_copy(update={"name": "Prompt Match\r\nX: y", "value": 0.5}),
            score.model_copy(update={"name": "unbounded", "value": float("inf")}),
        ]
        return judged.model_copy(update={"frames": [judged.frames[0].model_copy(update={"scores": scores})]})

    stages.behaviour.judge = odd
    answer = draw(gateway)

    assert answer.headers["bowerbird-scores"] == "0.000;prompt_match__x__y=0.500"
    assert [each["value"] for each in answer.json()["bowerbird"]["images"][0]["scores"]] == [0.5]


def test_answer_continues_the_callers_trace(gateway: httpx2.Client, stages: StandIns) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    answer = draw(gateway, headers={"traceparent": f"00-{trace}-b7ad6b7169203331-01"})

    assert answer.headers["traceparent"].split("-")[1] == trace
    assert answer.json()["bowerbird"]["trace_id"] == trace
    assert {each.headers["traceparent"].split("-")[1] for each in stages.seen} == {trace}


def test_every_hop_knows_the_request_and_what_is_left_of_its_deadline(gateway: httpx2.Client, stages: StandIns) -> None:
    answer = draw(gateway, headers={"Bowerbird-Deadline-Ms": "5000"})

    assert {each.path for each in stages.seen} == {"/check_prompt", "/draw", "/judge", "/check_images", "/publish"}
    for each in stages.seen:
        assert each.headers["bowerbird-request-id"] == answer.headers["x-request-id"]
        assert 0 < int(each.headers["bowerbird-deadline-ms"]) <= 5000


def test_label_names_model_policy_services_and_a_seed_that_only_the_request_can_check(
    gateway: httpx2.Client, stages: StandIns
) -> None:
    answer = draw(gateway, seed=7, output_format="webp", output_compression=80)

    published: PublishRequest = stages.asked("/publish")[0].asked
    request_id = answer.headers["x-request-id"]
    assert (published.format, published.compression) == ("webp", 80)
    assert published.origin.request_id == request_id
    assert published.origin.trace_id == answer.json()["bowerbird"]["trace_id"]
    assert published.origin.model_digest == DIGEST
    assert published.origin.policy == POLICY
    assert published.origin.services["draw"] == "9.9"
    assert set(published.origin.services) == {"gateway", "check_prompt", "draw", "judge", "check_images"}
    keyed = hmac.new(request_id.encode(), b"7", hashlib.sha256).hexdigest()
    assert published.origin.seed_digests == [f"sha256:{keyed}"]


def test_redacted_text_is_drawn_and_judged_and_told_but_not_the_original(
    gateway: httpx2.Client, stages: StandIns
) -> None:
    def redact(check: PromptCheck) -> Any:
        return decision(check, Action.REDACT, redacted_prompt="a robin for <EMAIL>", redacted_negative_prompt="<NAME>")

    stages.behaviour.decide = redact
    answer = draw(gateway, prompt="a robin for jo@example.org", negative_prompt="Jo Smith")

    assert stages.asked("/draw")[0].asked.prompt == "a robin for <EMAIL>"
    assert stages.asked("/draw")[0].asked.negative_prompt == "<NAME>"
    assert stages.asked("/judge")[0].asked.prompt == "a robin for <EMAIL>"
    assert answer.json()["data"][0]["revised_prompt"] == "a robin for <EMAIL>"
    assert answer.json()["bowerbird"]["safety"] == "redact"


@pytest.mark.parametrize("action", [Action.ESCALATE, Action.BLOCK])
def test_refused_prompt_never_reaches_the_model(gateway: httpx2.Client, stages: StandIns, action: Action) -> None:
    stages.behaviour.decide = lambda check: decision(check, action)
    answer = draw(gateway)

    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["code"], error["type"]) == ("moderation_blocked", "image_generation_user_error")
    assert error["categories"] == ["violence"]
    assert error["policy"]["version"] == "1"
    assert [each.path for each in stages.seen] == ["/check_prompt"]
    assert PROMPT not in answer.text


def test_crisis_is_answered_with_help_in_the_callers_language(gateway: httpx2.Client, stages: StandIns) -> None:
    stages.behaviour.decide = lambda check: decision(check, Action.CRISIS)
    answer = draw(gateway, headers={"Accept-Language": "de-CH, fr;q=0.8"})

    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (400, "crisis_support")
    assert error["help_text"] == "You are not alone."
    assert error["resources"] == [{"name": "Helpline", "contact": "116 123", "locale": "en"}]
    assert stages.asked("/check_prompt")[0].asked.locale == "de-CH"
    assert [each.path for each in stages.seen] == ["/check_prompt"]


def test_unreadable_accept_language_asks_for_help_in_english(gateway: httpx2.Client, stages: StandIns) -> None:
    draw(gateway, headers={"Accept-Language": "*"})

    assert stages.asked("/check_prompt")[0].asked.locale == "en"


def test_candidate_that_safety_blocks_is_passed_over(gateway: httpx2.Client, stages: StandIns) -> None:
    stages.behaviour.verdicts = lambda count: verdicts(count, blocked=frozenset({2}))
    answer = draw(gateway, candidates=3, seed=0)

    assert pictures(answer) == [frame(1, 3_200)]
    assert stages.asked("/publish")[0].frames == [frame(1, 3_200)]


def test_picture_without_an_allowed_candidate_refuses_the_request(gateway: httpx2.Client, stages: StandIns) -> None:
    stages.behaviour.verdicts = lambda count: verdicts(count, blocked=frozenset({2, 3}))
    answer = draw(gateway, n=2, candidates=2)

    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "image_blocked"
    assert answer.json()["error"]["reasons"] == ["nsfw"]
    assert not stages.asked("/publish")


def test_frames_beyond_the_memory_bound_are_published_from_disk(start_gateway: StartGateway, stages: StandIns) -> None:
    stages.behaviour.frame_bytes = 320_000
    answer = draw(start_gateway(spool_bytes=400_000), n=4, candidates=2, seed=1)

    assert pictures(answer) == [frame(seed, 320_000) for seed in (2, 4, 6, 8)]


def test_a_seed_that_was_not_given_is_fresh_and_exact_in_json(gateway: httpx2.Client) -> None:
    seeds = {int(draw(gateway).headers["bowerbird-seeds"]) for _ in range(3)}

    assert len(seeds) == 3
    assert max(seeds) < 2**53


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


def test_stage_that_is_full_says_when_to_come_back(gateway: httpx2.Client, stages: StandIns) -> None:
    stages.behaviour.answers["/draw"] = lambda: StageUnavailable("All slots are taken.", retry_after_seconds=7)
    answer = draw(gateway)

    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "7"
    assert answer.json()["error"]["stage"] == "text-to-image"


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
    assert "retry-after" in answer.headers
    assert not stages.asked("/draw")


def test_other_model_is_described_again_after_it_drew(start_gateway: StartGateway, stages: StandIns) -> None:
    gateway = start_gateway()
    digest = "sha256:" + "d" * 64
    stages.behaviour.described = MODEL.model_copy(update={"digest": digest})
    stages.behaviour.drawn_digest = digest
    assert draw(gateway).status_code == 502

    for _ in range(50):
        if gateway.get("/v1/models").json()["data"][0]["bowerbird"]["digest"] == digest:
            break
        time.sleep(0.02)
    assert draw(gateway).headers["bowerbird-model-digest"] == digest


# -------------------------------------------------------------------------------------------- ends before the end


def test_deadline_ends_the_work_and_says_when_to_come_back(gateway: httpx2.Client, stages: StandIns) -> None:
    stages.behaviour.seconds_per_step = 0.05
    answer = draw(gateway, headers={"Bowerbird-Deadline-Ms": "200"})

    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "deadline_exceeded"
    assert "retry-after" in answer.headers
    assert stages.draws_stopped.wait(5)
    assert not stages.asked("/publish")


def test_client_that_hangs_up_stops_the_drawing(gateway: httpx2.Client, stages: StandIns) -> None:
    stages.behaviour.seconds_per_step = 0.05
    with pytest.raises(httpx2.ReadTimeout):
        gateway.post("/v1/images/generations", json={"prompt": PROMPT, "steps": 30}, timeout=0.4)

    assert stages.asked("/draw")
    assert stages.draws_stopped.wait(5)
    for _ in range(100):
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
    assert stages.draws_stopped.wait(5)


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
