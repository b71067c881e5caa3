"""The chain from a request to a picture, as it should go, and what safety refuses on the way."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

import httpx2
import pytest

from bowerbird.contracts import Action, PromptCheck, PublishRequest

from .conftest import PROMPT, StartGateway, draw, pictures
from .stand_ins import (
    DIGEST,
    POLICY,
    StandIns,
    decision,
    frame,
    judgement,
    verdicts,
)


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
    assert set(timings) == {
        "check_prompt",
        "admit",
        "draw",
        "draw.denoise",
        "judge",
        "check_images",
        "publish",
        "total",
    }


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
        assert each.headers["bowerbird-flow"] == hashlib.sha256(b"local").hexdigest()[:16]
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
    assert set(published.origin.services) == {"gateway", "safety", "draw", "judge", "check_images"}
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
    assert error["message"] == "The safety policy refuses this prompt: violence."
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
