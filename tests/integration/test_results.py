"""Stored pictures in the running chain: given again byte for byte, and drawn anew when the policy is another one."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from ..embedded_stack import RunningStack

pytestmark = pytest.mark.timeout(300)

ASKED: dict[str, Any] = {"prompt": "a great tit on a fence in autumn", "steps": 2, "seed": 20_261_121}
HIT = "bowerbird; hit"
MISS = "bowerbird; fwd=miss"


@pytest.fixture(scope="module")
def gateway(stack: RunningStack) -> Iterator[httpx2.Client]:
    stack.wait_until_ready()
    with httpx2.Client(base_url=stack.url, timeout=120, trust_env=False) as client:
        yield client


def draw(client: httpx2.Client, **changes: Any) -> httpx2.Response:
    answer = client.post("/v1/images/generations", json={**ASKED, **changes})
    assert answer.status_code == 200, answer.text
    return answer


def picture(answer: httpx2.Response) -> bytes:
    return base64.b64decode(answer.json()["data"][0]["b64_json"])


def test_the_second_identical_request_gives_the_first_ones_bytes(gateway: httpx2.Client) -> None:
    first, second = draw(gateway), draw(gateway)

    assert (first.headers["cache-status"], second.headers["cache-status"]) == (MISS, HIT)
    assert picture(first) == picture(second)
    assert second.json()["bowerbird"]["drawn_by"] == first.headers["x-request-id"]
    assert "check_prompt" in second.json()["bowerbird"]["seconds"]
    assert "draw" not in second.json()["bowerbird"]["seconds"]


def test_a_stored_picture_is_labelled_like_any_other(gateway: httpx2.Client) -> None:
    draw(gateway, seed=3)
    again = draw(gateway, seed=3)
    checked = gateway.post("/v1/content_provenance_checks", files={"file": ("a.png", picture(again))}).json()

    assert again.headers["cache-status"] == HIT
    assert checked["results"][0]["bowerbird"]["verdict"] == "made_here_intact"


def test_a_picture_that_the_client_has_is_not_sent_again(gateway: httpx2.Client) -> None:
    tag = draw(gateway).headers["etag"]
    again = gateway.post("/v1/images/generations", json=ASKED, headers={"If-None-Match": tag})

    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)


def test_drawn_anew_it_is_another_file_with_another_tag(gateway: httpx2.Client) -> None:
    before, fresh, after = draw(gateway), draw(gateway, cache="fresh"), draw(gateway)

    assert fresh.headers["cache-status"] == "bowerbird; fwd=request"
    assert fresh.headers["etag"] != before.headers["etag"]
    assert (after.headers["cache-status"], after.headers["etag"]) == (HIT, fresh.headers["etag"])


def test_another_policy_has_it_drawn_and_checked_anew(gateway: httpx2.Client, stack: RunningStack) -> None:
    before = [draw(gateway, seed=5).headers["cache-status"] for _ in range(2)]
    with stack.policy.open("a", encoding="utf-8") as policy:
        policy.write("\n# One comment more is another policy.\n")
    stack.kill("safety")
    stack.wait_until_away("safety")
    stack.wait_until_ready()
    after = [draw(gateway, seed=5).headers["cache-status"] for _ in range(2)]

    assert (before, after) == ([MISS, HIT], [MISS, HIT])
