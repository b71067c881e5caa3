"""A picture is given at once as long as nothing has changed that it depends on, and safety has said so."""

from __future__ import annotations

import json
import socket
import time

import httpx2
import pytest

from bowerbird.contracts import Action, PolicyReference, SafetyDescription
from bowerbird.errors import StageUnavailable
from bowerbird.gateway.hot.hits import Hits

from ..conftest import PROMPT, until_ready
from ..stand_ins import CURATION, MODEL, POLICY, StandIns, decision
from .conftest import KEYS, SAYS, UNSAMPLED
from .test_both_ways import GENERATIONS, STORED, stored

OTHER_POLICY = PolicyReference(id="policy", version="2", digest="sha256:" + "d" * 64)


def asked(client: httpx2.Client, **headers: str) -> httpx2.Response:
    return client.post(GENERATIONS, json=STORED[0], headers=headers)


def checks(stages: StandIns) -> int:
    return len(stages.asked("/check_prompt"))


def until_heard(client: httpx2.Client, stages: StandIns) -> None:
    """Until safety is asked again about what it had allowed."""
    before = checks(stages)
    while checks(stages) == before:
        asked(client)
        time.sleep(0.02)


def restart(client: httpx2.Client, stages: StandIns) -> None:
    """The stages go away and come back, so that the gateway asks them anew what they are."""
    stages.behaviour.answers["/readyz"] = lambda: StageUnavailable("restarts")
    while any(each["state"] == "ready" for each in client.get("/readyz").json()["stages"]):
        time.sleep(0.02)
    del stages.behaviour.answers["/readyz"]
    until_ready(client, "safety", "text-to-image", "curation")


def test_safety_is_not_asked_twice_about_the_same_while_it_says_that_nothing_changed(
    both_ways: httpx2.Client, stages: StandIns
) -> None:
    stored(both_ways, STORED[0])
    before = checks(stages)
    assert [asked(both_ways).headers["cache-status"] for _ in range(3)] == ["bowerbird; hit"] * 3
    assert checks(stages) == before


def test_what_the_present_policy_refuses_is_not_given(both_ways: httpx2.Client, stages: StandIns) -> None:
    stored(both_ways, STORED[0])
    stages.behaviour.decide = lambda check: decision(check, Action.BLOCK, policy=OTHER_POLICY)
    stages.behaviour.safety = SafetyDescription(version="9.9", policy=OTHER_POLICY)
    until_heard(both_ways, stages)
    answer = asked(both_ways)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "moderation_blocked")


@pytest.mark.parametrize(
    "changed",
    [None, SafetyDescription(version="10.0", policy=POLICY)],
    ids=["says nothing", "other software"],
)
def test_safety_is_asked_where_it_does_not_say_that_it_is_as_it_was(
    both_ways: httpx2.Client, stages: StandIns, changed: SafetyDescription | None
) -> None:
    stored(both_ways, STORED[0])
    stages.behaviour.safety = changed
    until_heard(both_ways, stages)
    before = checks(stages)
    assert {asked(both_ways).status_code for _ in range(3)} == {200}
    assert checks(stages) == before + 3


def test_nothing_is_given_while_safety_is_away(both_ways: httpx2.Client, stages: StandIns) -> None:
    stored(both_ways, STORED[0])
    stages.behaviour.answers["/readyz"] = lambda: StageUnavailable("away")
    stages.behaviour.answers["/check_prompt"] = lambda: StageUnavailable("away")
    until_heard(both_ways, stages)
    assert asked(both_ways).status_code == 503


@pytest.mark.parametrize("action", [Action.FLAG, Action.REDACT])
def test_only_what_was_plainly_allowed_is_given_at_once(
    both_ways: httpx2.Client, stages: StandIns, action: Action
) -> None:
    stages.behaviour.decide = lambda check: decision(check, action)
    body = {"prompt": f"{PROMPT} {action}", "seed": 3}
    for _ in range(4):
        assert both_ways.post(GENERATIONS, json=body).status_code == 200
    assert checks(stages) == 4


@pytest.mark.parametrize(
    "change",
    [
        {"curation": CURATION.model_copy(update={"judge": "judge@2"})},
        {"described": MODEL.model_copy(update={"digest": "sha256:" + "e" * 64})},
    ],
    ids=["curation", "model"],
)
def test_what_another_chain_would_draw_is_not_given(
    both_ways: httpx2.Client, stages: StandIns, change: dict[str, object]
) -> None:
    body = {"prompt": PROMPT, "seed": 11}
    stored(both_ways, body)
    for name, value in change.items():
        setattr(stages.behaviour, name, value)
    restart(both_ways, stages)
    while both_ways.post(GENERATIONS, json=body).headers.get("cache-status") == "bowerbird; hit":
        time.sleep(0.02)
    stages.reset()
    restart(both_ways, stages)


def test_another_tenant_is_not_given_it(both_ways: httpx2.Client, stages: StandIns) -> None:
    body = {"prompt": PROMPT, "seed": 12}
    stored(both_ways, body)
    answer = both_ways.post(GENERATIONS, json=body, headers={"Authorization": f"Bearer {KEYS[1]}"})
    assert answer.headers["cache-status"] == "bowerbird; fwd=miss"


def test_each_answer_is_written_down_as_used(both_ways: httpx2.Client) -> None:
    def used() -> int:
        return sum(day["requests"] for day in both_ways.get("/v1/usage").json()["data"])

    stored(both_ways, STORED[0])
    before = used()
    asked(both_ways)
    assert used() == before + 1


def test_an_erasure_empties_it(both_ways: httpx2.Client, hits: Hits) -> None:
    stored(both_ways, STORED[0])
    assert hits.size_bytes > 0
    hits._results.forget()
    assert (hits.size_bytes, hits._hits) == (0, {})


def test_it_keeps_no_text_and_is_bounded(both_ways: httpx2.Client, hits: Hits) -> None:
    prompt = "a robin whose name is Quillfeather"
    stored(both_ways, {"prompt": prompt, "seed": 5})
    assert b"Quillfeather" not in b"".join(
        b"".join((name, *hit.template.before_pictures, *hit.template.tail)) for name, hit in hits._hits.items()
    )
    hits._max_bytes, whole = 8_000, hits._max_bytes
    try:
        for seed in range(20, 24):
            for _ in range(3):
                both_ways.post(GENERATIONS, json={"prompt": prompt, "seed": seed})
        assert hits.size_bytes <= 8_000
    finally:
        hits._max_bytes = whole


def test_a_body_that_comes_late_is_read_to_its_end(both_ways: httpx2.Client) -> None:
    stored(both_ways, STORED[0])
    body = json.dumps(STORED[0]).encode()
    head = "".join(
        f"{line}\r\n"
        for line in (
            f"POST {GENERATIONS} HTTP/1.1",
            "Host: h",
            f"Authorization: Bearer {KEYS[0]}",
            "Content-Type: application/json",
            f"traceparent: {UNSAMPLED['traceparent']}",
            f"Content-Length: {len(body)}",
            "Connection: close",
            "",
        )
    )
    url = httpx2.URL(str(both_ways.base_url))
    for pieces in ([head.encode(), body], [head.encode() + body[:5], body[5:]]):
        with socket.create_connection((url.host, url.port)) as connection:
            for piece in pieces:
                connection.sendall(piece)
                time.sleep(0.3)
            answer = b"".join(iter(lambda: connection.recv(65_536), b""))
        assert answer.startswith(b"HTTP/1.1 200")


def test_safety_says_the_same_as_before_by_the_same_object(both_ways: httpx2.Client, hits: Hits) -> None:
    first = hits._stages.safety()
    time.sleep(0.3)
    assert first == SAYS
    assert hits._stages.safety() is first
