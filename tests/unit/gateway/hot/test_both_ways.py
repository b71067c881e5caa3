"""Whatever is asked, it is answered the same at once and the ordinary way."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ..conftest import PROMPT
from .conftest import KEYS, ORDINARY, UNSAMPLED, at_once

GENERATIONS, STATUS = "/v1/images/generations", "/v1/jobs/{job}"
OWN_HEADERS = {"date", "bowerbird-request-id", "x-request-id", "traceparent", "server-timing", "content-length"}
STORED = (
    {"prompt": PROMPT, "seed": 7},
    {"prompt": PROMPT, "seed": 7, "n": 2, "candidates": 2, "user": "ann"},
    {"prompt": "a jay – ein Häher", "seed": 8, "negative_prompt": "snow", "output_format": "webp", "quality": "high"},
    {"prompt": PROMPT, "cache": "any", "steps": 3},
)
REFUSED: tuple[dict[str, Any] | list[Any], ...] = (
    {"prompt": PROMPT, "seed": "7"},
    {"prompt": " "},
    {"prompt": PROMPT, "sede": 7},
    [],
    {"prompt": PROMPT, "n": 11},
)

bodies = st.one_of(
    st.sampled_from(STORED).map(lambda body: json.dumps(body).encode()),
    st.sampled_from(STORED).map(lambda body: json.dumps(body, indent=1, ensure_ascii=False).encode()),
    st.sampled_from(REFUSED).map(lambda body: json.dumps(body).encode()),
    st.sampled_from([b"", b"{", b"\xff", json.dumps(STORED[0]).encode() + b" " * 20_000]),
)
shared_headers: dict[str, st.SearchStrategy[str]] = {
    "authorization": st.sampled_from(
        [*[f"Bearer {key}" for key in KEYS], "bearer the first key", "Bearer no", "Basic x", ""]
    ),
    "traceparent": st.sampled_from([UNSAMPLED["traceparent"], UNSAMPLED["traceparent"][:-1] + "1", "nonsense"]),
    "accept-language": st.sampled_from(["de", "en-GB,en;q=0.5", "*"]),
    "bowerbird-deadline-ms": st.sampled_from(["60000", "soon"]),
    "bowerbird-class": st.sampled_from(["batch", "first"]),
    "x-stainless-read-timeout": st.sampled_from(["600", "none"]),
}
of_pictures = {
    **shared_headers,
    "content-type": st.sampled_from(["application/json", "application/json; charset=utf-8", "text/plain"]),
    "content-encoding": st.sampled_from(["identity", "gzip"]),
    "if-none-match": st.sampled_from(["*", "known", 'W/"other"', 'known, W/"x"']),
}


def seldom(strategies: dict[str, st.SearchStrategy[str]]) -> st.SearchStrategy[dict[str, str]]:
    """At most two headers that are not as usual: with more, nearly every request would be refused."""
    return st.lists(st.sampled_from(sorted(strategies)), max_size=2, unique=True).flatmap(
        lambda names: st.fixed_dictionaries({name: strategies[name] for name in names})
    )


@pytest.fixture
def tags(both_ways: httpx2.Client) -> list[str]:
    """The tags of what is stored; every body of STORED is, for either tenant."""
    return [answer.headers["etag"] for answer in (stored(both_ways, body, key) for key in KEYS for body in STORED)]


def stored(client: httpx2.Client, body: dict[str, Any], key: str = KEYS[0]) -> httpx2.Response:
    for _ in range(200):
        answer = client.post(GENERATIONS, json=body, headers={"Authorization": f"Bearer {key}"})
        if answer.headers["server-timing"].startswith("check_prompt;dur=0.0, look_up"):
            return answer
    raise AssertionError("what was drawn is not given again at once")


def same(client: httpx2.Client, method: str, path: str, headers: dict[str, str], body: bytes) -> httpx2.Response:
    """The answer at once or as it came, after it was compared with that of the ordinary way."""
    usual = {"content-type": "application/json"} if method == "POST" else {}
    first, second = (
        client.request(method, path, headers=usual | headers | way, content=body) for way in ({}, {ORDINARY: "1"})
    )
    assert first.status_code == second.status_code
    assert [name for name, _ in first.headers.multi_items()] == [name for name, _ in second.headers.multi_items()]
    ours, others = ({k: v for k, v in each.headers.items() if k not in OWN_HEADERS} for each in (first, second))
    assert ours == others
    assert said(first) == said(second)
    return first


def said(answer: httpx2.Response) -> Any:
    """The body without what each answer has of its own."""
    body = json.loads(answer.content) if answer.content else None
    if isinstance(body, dict) and "bowerbird" in body:
        facts = body["bowerbird"]
        assert facts.pop("request_id") == answer.headers["x-request-id"]
        assert facts.pop("trace_id") == answer.headers["traceparent"].split("-")[1]
        body["bowerbird"]["seconds"] = list(facts["seconds"])
    return body


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=bodies, headers=seldom(of_pictures), query=st.sampled_from(["", "", "", "?", "?a=1"]))
def test_a_picture_is_given_alike(
    both_ways: httpx2.Client, tags: list[str], body: bytes, headers: dict[str, str], query: str
) -> None:
    named = {name: value.replace("known", tags[0]) for name, value in headers.items()}
    same(both_ways, "POST", GENERATIONS + query, named, body)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    job=st.sampled_from(["its", "its", "job_0", "%00", "é", "a/b", ""]),
    headers=seldom({**shared_headers, "idempotency-key": st.just("k")}),
    query=st.sampled_from(["", "", "", "?a=1"]),
)
def test_a_status_is_told_alike(both_ways: httpx2.Client, job: str, headers: dict[str, str], query: str) -> None:
    its = finished_job(both_ways)
    same(both_ways, "GET", f"/v1/jobs/{its if job == 'its' else job}{query}", headers, b"")


def test_what_is_asked_plainly_is_answered_at_once(both_ways: httpx2.Client, tags: list[str]) -> None:
    job = finished_job(both_ways)
    before = [at_once(both_ways, route) for route in (GENERATIONS, STATUS)]
    answers = [
        both_ways.post(GENERATIONS, json=STORED[0]),
        both_ways.post(GENERATIONS, json=STORED[0], headers={"If-None-Match": tags[0]}),
        both_ways.get(f"/v1/jobs/{job}"),
    ]
    assert [answer.status_code for answer in answers] == [200, 304, 200]
    assert [at_once(both_ways, route) for route in (GENERATIONS, STATUS)] == [before[0] + 2, before[1] + 1]


_jobs: dict[str, str] = {}


def finished_job(client: httpx2.Client) -> str:
    url = str(client.base_url)
    if url not in _jobs:
        answer = client.post(GENERATIONS, json=STORED[0], headers={"Prefer": "respond-async, wait=20"})
        _jobs[url] = answer.headers["location"].rpartition("/")[2]
    return _jobs[url]
