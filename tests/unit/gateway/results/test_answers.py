"""Stored pictures through the whole gateway, in front of stages that count what they are asked."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from bowerbird.contracts import Action, PolicyReference, PromptCheck
from bowerbird.errors import StageUnavailable
from bowerbird.gateway.app import create_app

from ..conftest import PROMPT, StartGateway, draw, opened, pictures, settings_for, until_ready
from ..leaving import leave_when
from ..stand_ins import LORA, StandIns, decision, judgement, served, verdicts

MEGABYTE = 1_000_000
OTHER_POLICY = PolicyReference(id="policy", version="2", digest="sha256:" + "d" * 64)
SEEDS = itertools.count(1_000, 100)


@pytest.fixture(scope="module")
def _keeper(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx2.Client]:
    _, stages_url = request.getfixturevalue("_stand_ins")
    app = create_app(settings_for(stages_url, tmp_path_factory.mktemp("home"), result_bytes=MEGABYTE))
    with served(app) as url, opened(url) as client:
        yield client


@pytest.fixture
def keeper(_keeper: httpx2.Client, stages: StandIns) -> httpx2.Client:
    """A gateway that keeps pictures, those of other tests among them."""
    until_ready(_keeper, "safety", "text-to-image", "curation")
    return _keeper


@pytest.fixture
def seed() -> int:
    """One that no other test draws with."""
    return next(SEEDS)


def draws(stages: StandIns) -> int:
    return len(stages.asked("/draw"))


def test_the_second_identical_request_is_answered_without_the_model(
    keeper: httpx2.Client, seed: int, stages: StandIns
) -> None:
    first, second = draw(keeper, seed=seed, n=2, candidates=2), draw(keeper, seed=seed, n=2, candidates=2)

    assert draws(stages) == 1
    assert len(stages.asked("/check_prompt")) == 2
    assert pictures(first) == pictures(second)
    assert (first.headers["cache-status"], second.headers["cache-status"]) == ("bowerbird; fwd=miss", "bowerbird; hit")
    assert first.headers["etag"] == second.headers["etag"]
    for header in ("bowerbird-seeds", "bowerbird-scores", "bowerbird-model-digest"):
        assert first.headers[header] == second.headers[header]
    ours, again = first.json()["bowerbird"], second.json()["bowerbird"]
    assert ours["images"] == again["images"]
    assert (ours["source"], again["source"]) == ("drawn", "stored")
    assert again["drawn_by"] == ours["request_id"] != again["request_id"]
    assert set(again["seconds"]) == {"check_prompt", "look_up", "total"}
    assert first.json()["created"] == second.json()["created"]


def test_pictures_outlive_the_gateway(request: pytest.FixtureRequest, stages: StandIns, tmp_path: Path) -> None:
    _, stages_url = request.getfixturevalue("_stand_ins")
    answers = []
    for _ in range(2):
        app = create_app(settings_for(stages_url, tmp_path, result_bytes=MEGABYTE))
        with served(app) as url, opened(url) as client:
            until_ready(client, "safety", "text-to-image", "curation")
            answers.append(draw(client, seed=7))
    first, second = answers

    assert second.headers["cache-status"] == "bowerbird; hit"
    assert pictures(first) == pictures(second)


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"prompt": "a jay"},
        {"negative_prompt": "a jay"},
        {"steps": 3},
        {"guidance_scale": 5},
        {"size": "64x32"},
        {"n": 2},
        {"candidates": 2},
        {"output_format": "webp"},
        {"quality": "high"},
        {"lora": [{"id": LORA.id, "weight": 0.5}]},
        {"cache": "fresh"},
    ],
)
def test_another_request_is_drawn(keeper: httpx2.Client, seed: int, stages: StandIns, change: dict[str, Any]) -> None:
    draw(keeper, seed=seed)
    other = draw(keeper, **{"seed": seed, **change})

    assert other.status_code == 200
    assert draws(stages) == 2


@pytest.mark.parametrize(
    "same",
    [{"quality": "medium"}, {"user": "ann"}, {"steps": 20}, {"model": "fledgling"}, {"size": "32x32"}, {"lora": []}],
)
def test_what_changes_nothing_of_the_picture_does_not_matter(
    keeper: httpx2.Client, seed: int, stages: StandIns, same: dict[str, Any]
) -> None:
    draw(keeper, seed=seed)
    again = draw(keeper, seed=seed, **same)

    assert again.headers["cache-status"] == "bowerbird; hit"
    assert again.json()["safety_identifier"] == same.get("user")


def test_without_a_seed_every_request_is_drawn_unless_any_picture_will_do(
    keeper: httpx2.Client, seed: int, stages: StandIns
) -> None:
    ours: dict[str, Any] = {"prompt": f"a robin, number {seed}"}
    first, second = draw(keeper, **ours), draw(keeper, **ours)
    assert (first.headers["cache-status"], draws(stages)) == ("bowerbird; fwd=request", 2)

    third = draw(keeper, cache="any", **ours)
    assert third.headers["cache-status"] == "bowerbird; hit"
    assert pictures(third)[0] in (pictures(first)[0], pictures(second)[0])
    by_seed = draw(keeper, seed=int(first.headers["bowerbird-seeds"]), **ours)
    assert pictures(by_seed) == pictures(first)
    assert draws(stages) == 2


def test_a_tenant_may_be_content_with_any_picture_by_default(start_gateway: StartGateway, stages: StandIns) -> None:
    keeper = start_gateway(result_bytes=MEGABYTE, tenant_caches={"local": "any"})
    first, second, fresh = draw(keeper), draw(keeper), draw(keeper, cache="fresh")
    as_job = draw(keeper, {"Prefer": "respond-async, wait=15"})

    assert [each.headers["cache-status"] for each in (first, second, fresh, as_job)] == [
        "bowerbird; fwd=miss",
        "bowerbird; hit",
        "bowerbird; fwd=request",
        "bowerbird; hit",
    ]
    assert pictures(first) == pictures(second)
    assert draws(stages) == 2


def test_any_is_refused_with_a_seed_and_where_nothing_is_kept(
    keeper: httpx2.Client, seed: int, gateway: httpx2.Client
) -> None:
    for refused in (draw(keeper, seed=seed, cache="any"), draw(gateway, cache="any")):
        assert refused.status_code == 400
        assert (refused.json()["error"]["code"], refused.json()["error"]["param"]) == ("unknown_parameter", "cache")


def test_another_tenant_is_not_given_it(start_gateway: StartGateway, stages: StandIns) -> None:
    keeper = start_gateway(result_bytes=MEGABYTE, api_keys=frozenset({"ann", "bob"}))
    answers = [draw(keeper, {"Authorization": f"Bearer {key}"}, seed=7) for key in ("ann", "bob", "ann")]

    assert [answer.headers["cache-status"].split("; ")[1] for answer in answers] == ["fwd=miss", "fwd=miss", "hit"]


def test_a_picture_that_the_client_has_is_not_sent_again(keeper: httpx2.Client, seed: int, stages: StandIns) -> None:
    first = draw(keeper, seed=seed)
    again = draw(keeper, {"If-None-Match": f'"x", {first.headers["etag"]}'}, seed=seed)

    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    assert draw(keeper, {"If-None-Match": '"x"'}, seed=seed).status_code == 200


def test_what_the_present_policy_refuses_is_not_given(keeper: httpx2.Client, seed: int, stages: StandIns) -> None:
    first = draw(keeper, seed=seed)
    stages.behaviour.decide = lambda check: decision(check, Action.BLOCK)
    refused = draw(keeper, {"If-None-Match": first.headers["etag"]}, seed=seed)

    assert refused.status_code == 400
    assert refused.json()["error"]["code"] == "moderation_blocked"


def test_after_a_change_of_policy_it_is_drawn_and_checked_again(
    keeper: httpx2.Client, seed: int, stages: StandIns
) -> None:
    draw(keeper, seed=seed)
    stages.behaviour.decide = lambda check: decision(check, policy=OTHER_POLICY)
    stages.behaviour.verdicts = lambda count: verdicts(count).model_copy(update={"policy": OTHER_POLICY})
    second, third = draw(keeper, seed=seed), draw(keeper, seed=seed)

    assert [answer.headers["cache-status"] for answer in (second, third)] == ["bowerbird; fwd=miss", "bowerbird; hit"]
    assert len(stages.asked("/check_images")) == 2


def test_a_policy_that_changes_while_it_is_drawn_leaves_nothing_behind(
    keeper: httpx2.Client, seed: int, stages: StandIns
) -> None:
    stages.behaviour.verdicts = lambda count: verdicts(count).model_copy(update={"policy": OTHER_POLICY})
    draw(keeper, seed=seed)
    draw(keeper, seed=seed)

    assert draws(stages) == 2


def test_another_model_draws_it_again(start_gateway: StartGateway, seed: int, stages: StandIns) -> None:
    keeper = start_gateway(result_bytes=MEGABYTE)
    draw(keeper, seed=seed)
    changed = "sha256:" + "e" * 64
    stages.behaviour.described = stages.behaviour.described.model_copy(update={"digest": changed})
    stages.behaviour.drawn_digest = changed
    broken = draw(keeper, seed=seed, cache="fresh")  # the gateway learns of the model by what it draws
    while draw(keeper).status_code != 200:
        pass
    again = draw(keeper, seed=seed)

    assert broken.status_code == 502
    assert again.headers["cache-status"] == "bowerbird; fwd=miss"
    assert again.headers["bowerbird-model-digest"] == changed


@pytest.mark.parametrize("change", [{"certificate": "sha256:" + "e" * 64}, {"judge": "judge@2"}, {"version": "10"}])
def test_after_a_change_of_certificate_or_judge_it_is_drawn_and_labelled_again(
    start_gateway: StartGateway, seed: int, stages: StandIns, change: dict[str, str]
) -> None:
    curation = StandIns()  # of its own: other gateways look at the others' description, too
    with served(curation.app()) as url:
        keeper = start_gateway(result_bytes=MEGABYTE, curation_url=f"{url}/curation")
        draw(keeper, seed=seed)
        changed = curation.behaviour.curation.model_copy(update=change)
        curation.behaviour.curation = curation.behaviour.published_by = changed
        curation.behaviour.judge = lambda asked: judgement(asked).model_copy(update={"judge": changed.judge})
        looks = curation.descriptions
        while curation.descriptions < looks + 2:
            time.sleep(0.02)
        second, third = draw(keeper, seed=seed), draw(keeper, seed=seed)

    assert [answer.headers["cache-status"] for answer in (second, third)] == ["bowerbird; fwd=miss", "bowerbird; hit"]
    assert draws(stages) == 2


def test_what_another_certificate_signed_than_was_looked_up_is_not_kept(
    keeper: httpx2.Client, seed: int, stages: StandIns
) -> None:
    other = stages.behaviour.curation.model_copy(update={"certificate": "sha256:" + "e" * 64})
    stages.behaviour.published_by = other
    for _ in range(2):
        assert draw(keeper, seed=seed).headers["cache-status"] == "bowerbird; fwd=miss"


def test_two_prompts_that_differ_in_what_is_redacted_share_a_picture_and_each_is_told_its_own(
    keeper: httpx2.Client, seed: int, stages: StandIns
) -> None:
    def redact(check: PromptCheck) -> Any:
        return decision(check, Action.REDACT, redacted_prompt="a robin for <EMAIL>")

    stages.behaviour.decide = redact
    first, second = (draw(keeper, seed=seed, prompt=f"a robin for {name}@example.org") for name in ("jo", "ann"))
    stages.behaviour.decide = decision
    third = draw(keeper, seed=seed, prompt="a robin for <EMAIL>")

    assert draws(stages) == 1
    assert pictures(first) == pictures(second) == pictures(third)
    assert second.json()["data"][0]["revised_prompt"] == "a robin for <EMAIL>"
    assert third.json()["data"][0]["revised_prompt"] is None
    assert (second.json()["bowerbird"]["safety"], third.json()["bowerbird"]["safety"]) == ("redact", "allow")


def test_a_lora_whose_digest_nobody_knows_is_drawn_and_not_kept(
    keeper: httpx2.Client, seed: int, stages: StandIns
) -> None:
    stages.behaviour.answers["/loras"] = lambda: StageUnavailable("no loras now")
    for _ in range(2):
        assert draw(keeper, seed=seed, lora=[{"id": LORA.id}]).headers["cache-status"] == "bowerbird; fwd=request"
    del stages.behaviour.answers["/loras"]
    assert draw(keeper, seed=seed, lora=[{"id": LORA.id}]).headers["cache-status"] == "bowerbird; fwd=miss"
    assert draw(keeper, seed=seed, lora=[{"id": LORA.id}]).headers["cache-status"] == "bowerbird; hit"


def test_a_drawing_that_began_with_a_picture_answers_nobody(keeper: httpx2.Client, seed: int) -> None:
    form = {"prompt": (None, PROMPT.encode()), "seed": (None, str(seed).encode()), "image": ("a.png", b"a bird")}
    assert keeper.post("/v1/images/edits", files=form).status_code == 200
    assert draw(keeper, seed=seed).headers["cache-status"] == "bowerbird; fwd=miss"


def test_a_refused_picture_is_not_kept(keeper: httpx2.Client, seed: int, stages: StandIns) -> None:
    stages.behaviour.verdicts = lambda count: verdicts(count, blocked=frozenset({0}))
    assert draw(keeper, seed=seed).status_code == 400
    stages.behaviour.verdicts = verdicts
    assert draw(keeper, seed=seed).headers["cache-status"] == "bowerbird; fwd=miss"


def at_once(*requests: Callable[[], httpx2.Response]) -> list[httpx2.Response | Exception]:
    """What each of these requests ends with, all sent at the same time."""
    ends: list[Any] = [None] * len(requests)

    def send(number: int, request: Callable[[], httpx2.Response]) -> None:
        try:
            ends[number] = request()
        except httpx2.HTTPError as error:
            ends[number] = error

    threads = [threading.Thread(target=send, args=each) for each in enumerate(requests)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return ends


def _drawn_when_all_are_there(stages: StandIns, count: int) -> None:
    while len(stages.asked("/check_prompt")) < count:
        time.sleep(0.01)
    time.sleep(0.3)  # from safety's answer to the waiting
    assert stages.behaviour.until_frames
    stages.behaviour.until_frames.set()


def test_identical_requests_at_the_same_time_are_drawn_once(keeper: httpx2.Client, seed: int, stages: StandIns) -> None:
    stages.behaviour.until_frames = threading.Event()
    threading.Thread(target=_drawn_when_all_are_there, args=(stages, 5)).start()
    answers = at_once(*[lambda: draw(keeper, seed=seed, steps=15)] * 5)

    assert draws(stages) == 1
    assert all(isinstance(each, httpx2.Response) and each.status_code == 200 for each in answers)
    ends = sorted(each.headers["cache-status"] for each in answers if isinstance(each, httpx2.Response))
    assert ends == ["bowerbird; fwd=miss"] + ["bowerbird; fwd=miss; collapsed"] * 4
    assert 'bowerbird_result_answers_total{source="shared",wanted="seed"}' in keeper.get("/metrics").text


def test_who_hangs_up_first_leaves_the_drawing_to_the_others(
    keeper: httpx2.Client, seed: int, stages: StandIns
) -> None:
    stages.behaviour.until_frames = threading.Event()

    def leave() -> httpx2.Response:
        leave_when(lambda: len(stages.asked("/check_prompt")) == 3, keeper, prompt="a robin", seed=seed)
        assert stages.draws_stopped.wait(60)
        assert stages.behaviour.until_frames
        stages.behaviour.until_frames.set()
        return draw(keeper, prompt="a robin", seed=seed)

    def stay() -> httpx2.Response:
        while not stages.asked("/draw"):
            time.sleep(0.01)
        return draw(keeper, prompt="a robin", seed=seed)

    stayed = at_once(leave, stay, stay)

    assert [each.status_code for each in stayed if isinstance(each, httpx2.Response)] == [200] * 3
    assert draws(stages) == 2


def test_the_gateway_draws_while_its_pictures_cannot_be_kept(
    start_gateway: StartGateway, stages: StandIns, tmp_path: Path
) -> None:
    keeper = start_gateway(result_bytes=MEGABYTE, pictures_url=f"file://{tmp_path}/pictures")
    (tmp_path / "pictures" / ".incoming").rmdir()
    (tmp_path / "pictures").rmdir()
    (tmp_path / "pictures").write_text("a file in the place of the folder")
    assert draw(keeper, seed=7).status_code == 200
    while 'bowerbird_result_failures_total{what="store"} 1.0' not in keeper.get("/metrics").text:
        pass
