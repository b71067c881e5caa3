"""`Idempotency-Key` on a real socket: the same key and request, the same answer, also while the first is running."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest

from bowerbird.contracts import Action, PromptCheck
from bowerbird.errors import StageUnavailable

from ..conftest import PROMPT, StartGateway, draw, pictures
from ..leaving import leave_when
from ..stand_ins import StandIns, decision

KEY = "Idempotency-Key"


def keyed(name: str) -> dict[str, str]:
    return {KEY: f"{name}-{threading.get_ident()}-{time.monotonic_ns()}"}


def test_the_same_key_and_request_get_the_same_pictures_drawn_once(gateway: httpx2.Client, stages: StandIns) -> None:
    headers = keyed("same")
    first = draw(gateway, headers)
    again = draw(gateway, headers)
    assert first.status_code == again.status_code == 200
    assert pictures(first) == pictures(again)
    assert first.json() == again.json()
    assert len(stages.asked("/draw")) == 1


def test_requests_under_one_key_at_once_wait_for_one_drawing(gateway: httpx2.Client, stages: StandIns) -> None:
    stages.behaviour.seconds_per_step = 0.01
    headers = keyed("at-once")
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: draw(gateway, headers, steps=20), range(8)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({tuple(pictures(answer)) for answer in answers}) == 1
    assert len(stages.asked("/draw")) == 1


def test_another_request_under_the_key_is_refused(gateway: httpx2.Client) -> None:
    headers = keyed("reused")
    assert draw(gateway, headers, seed=1).status_code == 200
    answer = draw(gateway, headers, seed=2)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "idempotency_key_reused")
    moderation = gateway.post("/v1/moderations", json={"input": PROMPT}, headers=headers)
    assert moderation.status_code == 422


def test_a_key_belongs_to_its_tenant(start_gateway: StartGateway) -> None:
    gateway = start_gateway(api_keys=frozenset({"one", "two"}))
    for key, seed in (("one", 1), ("two", 2)):
        answer = draw(gateway, {KEY: "shared", "Authorization": f"Bearer {key}"}, seed=seed)
        assert (answer.status_code, answer.headers["bowerbird-seeds"]) == (200, str(seed))


@pytest.mark.parametrize("key", [b"", b"x" * 256, b"tab\there", "é".encode()])
@pytest.mark.parametrize("path", ["/v1/images/generations", "/v1/moderations"])
def test_a_key_that_is_too_long_or_not_printable_is_refused(gateway: httpx2.Client, path: str, key: bytes) -> None:
    body = {"prompt": PROMPT} if "images" in path else {"input": PROMPT}
    answer = gateway.post(path, json=body, headers={KEY.encode(): key})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, KEY)


def test_two_keys_in_one_request_are_refused(gateway: httpx2.Client) -> None:
    answer = gateway.post("/v1/images/generations", json={"prompt": PROMPT}, headers=[(KEY, "a"), (KEY, "b")])
    assert answer.status_code == 400


def test_a_key_with_respond_async_finds_its_job_again(gateway: httpx2.Client, stages: StandIns) -> None:
    stages.behaviour.seconds_per_step = 0.02
    headers = keyed("async")
    jobs = [draw(gateway, {**headers, "Prefer": "respond-async"}, steps=30) for _ in range(3)]
    assert {answer.status_code for answer in jobs} == {202}
    assert len({answer.json()["id"] for answer in jobs}) == 1
    waited = draw(gateway, headers, steps=30)  # the same request, which now waits for the job
    assert waited.status_code == 200
    assert waited.headers["location"] == jobs[0].headers["location"]


def test_pictures_under_a_key_are_drawn_although_the_client_left(gateway: httpx2.Client, stages: StandIns) -> None:
    stages.behaviour.until_frames = threading.Event()
    headers = keyed("left")
    body = {"prompt": PROMPT, "steps": 20}
    leave_when(lambda: bool(stages.asked("/draw")), gateway, headers, **body)
    stages.behaviour.until_frames.set()
    answer = gateway.post("/v1/images/generations", json=body, headers=headers)
    assert answer.status_code == 200
    assert len(stages.asked("/draw")) == 1
    assert not stages.draws_stopped.is_set()


def test_a_deadline_that_passes_leaves_the_job_and_says_how_to_find_it(
    gateway: httpx2.Client, stages: StandIns
) -> None:
    stages.behaviour.until_frames = threading.Event()
    headers = keyed("deadline")
    for milliseconds in (300, 3_000, 30_000):  # a slow machine does not come to the job within the first
        late = draw(gateway, {**headers, "Bowerbird-Deadline-Ms": str(milliseconds)}, steps=20)
        assert (late.status_code, late.json()["error"]["code"]) == (503, "deadline_exceeded")
        assert int(late.headers["retry-after"]) >= 1
        if "job" in late.json()["error"]:
            break
    stages.behaviour.until_frames.set()
    assert draw(gateway, headers, steps=20).status_code == 200
    assert gateway.get(f"/v1/jobs/{late.json()['error']['job']}").json()["status"] == "succeeded"
    assert len(stages.asked("/draw")) == 1


def test_a_question_under_a_key_is_asked_once(gateway: httpx2.Client, stages: StandIns) -> None:
    headers = keyed("question")
    answers = [gateway.post("/v1/moderations", json={"input": PROMPT}, headers=headers) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200] * 3
    assert len({answer.content for answer in answers}) == 1
    assert len(stages.asked("/check_prompt")) == 1
    assert answers[2].headers["content-type"] == answers[0].headers["content-type"]


def test_questions_under_one_key_at_once_get_one_answer(gateway: httpx2.Client) -> None:
    headers = keyed("questions")
    with ThreadPoolExecutor(8) as pool:
        ask = lambda _: gateway.post("/v1/moderations", json={"input": PROMPT}, headers=headers)  # noqa: E731
        answers = list(pool.map(ask, range(8)))
    assert len({answer.content for answer in answers}) == 1


def test_an_upload_under_a_key_is_known_although_clients_change_the_boundary(
    gateway: httpx2.Client, stages: StandIns
) -> None:
    headers = keyed("upload")
    answers = [
        gateway.post("/v1/content_provenance_checks", files={"file": ("a.png", b"picture")}, headers=headers)
        for _ in range(2)
    ]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].content == answers[1].content
    assert len(stages.asked("/check_provenance")) == 1
    other = gateway.post("/v1/content_provenance_checks", files={"file": ("a.png", b"another")}, headers=headers)
    assert other.status_code == 422


def test_a_failure_is_not_remembered(gateway: httpx2.Client, stages: StandIns) -> None:
    headers = keyed("failure")
    stages.behaviour.answers["/check_prompt"] = lambda: StageUnavailable("starting", retry_after_seconds=1)
    assert gateway.post("/v1/moderations", json={"input": PROMPT}, headers=headers).status_code == 503
    assert draw(gateway, headers).status_code == 503
    stages.behaviour.answers.clear()
    assert gateway.post("/v1/moderations", json={"input": PROMPT}, headers=headers).status_code == 200


def test_of_a_crisis_nothing_is_remembered(gateway: httpx2.Client, stages: StandIns) -> None:
    def crisis(check: PromptCheck) -> object:
        return decision(check, Action.CRISIS)

    headers = keyed("crisis")
    stages.behaviour.decide = crisis  # type: ignore[assignment]
    for _ in range(2):
        assert gateway.post("/v1/moderations", json={"input": PROMPT}, headers=headers).status_code == 200
    assert len(stages.asked("/check_prompt")) == 2
