"""`/v1/usage` as CSV says what it says as JSON."""

from __future__ import annotations

import csv
import io

import httpx2
import pytest

from .conftest import draw


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
