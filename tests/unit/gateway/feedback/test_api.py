"""`POST /v1/feedback` on a real socket: about this tenant's pictures, once, without personal data."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import httpx2
import pytest

from bowerbird.contracts import Action
from bowerbird.errors import StageUnavailable
from bowerbird.gateway.records.database import FILE_NAME

from ..conftest import GatewayIn, StartGateway, draw
from ..stand_ins import StandIns, decision

SECRET_WORD = "quixotic"


def say(gateway: httpx2.Client, headers: dict[str, str] | None = None, **fields: Any) -> httpx2.Response:
    return gateway.post("/v1/feedback", json=fields, headers=headers)


@pytest.fixture
def request_id(gateway: httpx2.Client) -> str:
    """Of an answer with two pictures."""
    return draw(gateway, n=2).headers["x-request-id"]


@pytest.mark.parametrize(
    ("kind", "more", "reward"),
    [
        ("stars", {"stars": 5, "image": 0}, 1.0),
        ("stars", {"stars": 1}, -1.0),
        ("chosen", {"image": 1}, None),
        ("like", {}, 0.5),
        ("favourite", {}, 1.0),
        ("share", {}, 0.8),
        ("download", {}, 0.6),
        ("report", {"tags": ["too-dark"], "text": "the beak is wrong"}, None),
        ("none", {}, -0.2),
    ],
)
def test_what_was_thought_of_a_picture_is_kept_with_its_reward(
    gateway: httpx2.Client, request_id: str, kind: str, more: dict[str, Any], reward: float | None
) -> None:
    answer = say(gateway, request_id=request_id, kind=kind, **more)
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert (told["reward"], told["variant"], told["request_id"], told["pictures"]) == (
        reward,
        "fledgling",
        request_id,
        2,
    )
    assert all(told[name] == value for name, value in more.items())
    listed = gateway.get("/v1/feedback", params={"request_id": request_id}).json()
    assert listed["data"] == [told]


def test_a_jobs_pictures_are_told_of_by_the_jobs_id(gateway: httpx2.Client) -> None:
    job_id = draw(gateway, {"Prefer": "respond-async, wait=15", "Idempotency-Key": "feedback-of-a-job"}).headers[
        "location"
    ]
    answer = say(gateway, request_id=job_id.removeprefix("/v1/jobs/"), kind="like")
    assert answer.status_code == 200, answer.text


def test_the_same_request_again_changes_nothing(gateway: httpx2.Client, request_id: str) -> None:
    fields: dict[str, Any] = {"request_id": request_id, "kind": "like", "safety_identifier": "somebody"}
    first = say(gateway, {"Idempotency-Key": f"key-{request_id}"}, **fields)
    assert say(gateway, {"Idempotency-Key": f"key-{request_id}"}, **fields).json() == first.json()
    assert say(gateway, **fields).json()["id"] == first.json()["id"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"kind": "stars"}, "stars"),
        ({"kind": "stars", "stars": 6}, "stars"),
        ({"kind": "stars", "stars": True}, "stars"),
        ({"kind": "like", "stars": 3}, "stars"),
        ({"kind": "like", "image": 2}, "image"),
        ({"kind": "like", "image": -1}, "image"),
        ({"kind": "chosen"}, "image"),
        ({"kind": "love"}, "kind"),
        ({"kind": "like", "tags": ["+49 170 1234567"]}, "tags.0"),
        ({"kind": "like", "text": "   "}, "text"),
        ({"kind": "like", "text": "a\x00b"}, "text"),
        ({"kind": "like", "safety_identifier": "a\x00b"}, "safety_identifier"),
        ({"kind": "like", "reward": 1}, "reward"),
    ],
)
def test_what_makes_no_sense_is_refused_by_its_field(
    gateway: httpx2.Client, request_id: str, fields: dict[str, Any], param: str
) -> None:
    answer = say(gateway, request_id=request_id, **fields)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


def test_one_picture_is_not_chosen_of_several(gateway: httpx2.Client) -> None:
    answer = say(gateway, request_id=draw(gateway).headers["x-request-id"], kind="chosen", image=0)
    assert answer.json()["error"]["param"] == "image"


def test_requests_of_others_and_of_nobody_are_unknown(start_gateway: StartGateway) -> None:
    gateway = start_gateway(api_keys=frozenset({"first", "second"}))
    mine, theirs = ({"Authorization": f"Bearer {key}"} for key in ("first", "second"))
    request_id = draw(gateway, mine).headers["x-request-id"]
    for headers, about in ((theirs, request_id), (mine, "req_" + "0" * 24)):
        answer = say(gateway, headers, request_id=about, kind="like")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "request_not_found")
    assert say(gateway, mine, request_id=request_id, kind="like").status_code == 200
    assert gateway.get("/v1/feedback", headers=theirs).json()["data"] == []


def test_of_free_text_only_what_is_redacted_is_kept_and_of_a_crisis_nothing(
    gateway_in: GatewayIn, stages: StandIns, tmp_path: Path
) -> None:
    with gateway_in(tmp_path) as gateway:
        request_id = draw(gateway).headers["x-request-id"]
        stages.behaviour.decide = lambda check: decision(check, Action.REDACT, redacted_prompt="by <PERSON>")
        told = say(gateway, request_id=request_id, kind="report", text=f"by {SECRET_WORD} himself")
        assert told.json()["text"] == "by <PERSON>"
        stages.behaviour.decide = lambda check: decision(check, Action.CRISIS)
        key = {"Idempotency-Key": "crisis"}
        refused = say(gateway, key, request_id=request_id, kind="like", text=f"{SECRET_WORD} crisis")
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "crisis_support")
        assert refused.json()["error"]["param"] == "text"
        assert refused.json()["error"]["help_text"]
        assert [each["kind"] for each in gateway.get("/v1/feedback").json()["data"]] == ["report"]
    for file in tmp_path.rglob("*"):
        assert not file.is_file() or SECRET_WORD.encode() not in file.read_bytes(), file


def test_while_nobody_can_check_a_text_nothing_is_kept(gateway_in: GatewayIn, stages: StandIns, tmp_path: Path) -> None:
    with gateway_in(tmp_path) as gateway:
        request_id = draw(gateway).headers["x-request-id"]
        stages.behaviour.answers["/check_prompt"] = lambda: StageUnavailable("It is down.")
        assert say(gateway, request_id=request_id, kind="report", text="words").status_code == 503
        assert say(gateway, request_id=request_id, kind="like").status_code == 200
    with sqlite3.connect(tmp_path / FILE_NAME) as connection:
        assert connection.execute("SELECT kind FROM feedback").fetchall() == [("like",)]
