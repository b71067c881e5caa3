"""`/v1/usage`: each request and job once, day by day; as CSV it says what it says as JSON."""

from __future__ import annotations

import csv
import io

import httpx2
import pytest

from .conftest import StartGateway, draw
from .jobs.submitting import ended, submit


@pytest.mark.parametrize(
    ("query", "accept"),
    [
        ({"format": "csv"}, "*/*"),
        ({}, "text/csv"),
        ({}, "text/csv;q=0.9, */*;q=0.1"),
        ({"format": "csv"}, "application/json"),
    ],
)
def test_usage_is_a_table_where_that_is_asked_for(gateway: httpx2.Client, query: dict[str, str], accept: str) -> None:
    draw(gateway)
    told = gateway.get("/v1/usage", params={"format": "json"}).json()
    answer = gateway.get("/v1/usage", params=query, headers={"Accept": accept})
    assert answer.headers["content-type"].startswith("text/csv")
    assert f'filename="usage_{told["first_day"]}_{told["last_day"]}.csv"' in answer.headers["content-disposition"]
    rows = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    assert [list(row) for row in rows] == [[name for name in day if name != "object"] for day in told["data"]]
    assert [{name: str(day[name]) for name in row} for row, day in zip(rows, told["data"], strict=True)] == rows


@pytest.mark.parametrize("accept", ["*/*", "application/json", "application/json, text/csv"])
def test_usage_is_json_where_nothing_else_is_asked_for(gateway: httpx2.Client, accept: str) -> None:
    answer = gateway.get("/v1/usage", headers={"Accept": accept})
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["vary"] == "Accept"


def test_another_format_is_refused(gateway: httpx2.Client) -> None:
    answer = gateway.get("/v1/usage", params={"format": "xml"})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "format")


def test_usage_counts_requests_and_jobs_once(start_gateway: StartGateway) -> None:
    gateway = start_gateway()
    draw(gateway, candidates=2, n=2)
    ended(gateway, submit(gateway))
    (day,) = gateway.get("/v1/usage").json()["data"]
    assert (day["requests"], day["pictures"], day["pixels"]) == (2, 3, 5 * 32 * 32)
    assert day["variant"] == "fledgling"
    assert day["compute_units"] > 0
    long_ago = {"first_day": "2020-01-01", "last_day": "2020-12-31"}
    assert gateway.get("/v1/usage", params=long_ago).json()["data"] == []


@pytest.mark.parametrize(
    "query",
    [{"first_day": "yesterday"}, {"last_day": "20261121"}, {"first_day": "2026-11-21", "last_day": "2026-11-20"}],
)
def test_days_that_are_none_are_refused(gateway: httpx2.Client, query: dict[str, str]) -> None:
    answer = gateway.get("/v1/usage", params=query)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, next(iter(query)))
