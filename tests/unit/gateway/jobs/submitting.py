"""A job from a client's side: submitted, heard, ended."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx2

from bowerbird.contracts import ModelCosts, ModelDescription, SizeCosts

from ..conftest import draw
from ..stand_ins import MODEL

ASYNC = {"Prefer": "respond-async"}


def submit(gateway: httpx2.Client, headers: dict[str, str] | None = None, **fields: Any) -> str:
    """The id of a new job."""
    answer = draw(gateway, {**ASYNC, **(headers or {})}, **fields)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def ended(gateway: httpx2.Client, job_id: str) -> dict[str, Any]:
    """The job when it has ended."""
    for _ in range(3000):
        job: dict[str, Any] = gateway.get(f"/v1/jobs/{job_id}").json()
        if job["finished_at"] is not None:
            return job
        time.sleep(0.02)
    raise AssertionError(f"the job did not end: {job}")


def holds_a_slot(gateway: httpx2.Client) -> bool:
    """Whether this gateway carries what is drawn."""
    return "bowerbird_slots_held 1.0" in gateway.get("/metrics").text.splitlines()


def events(lines: Iterator[str]) -> list[dict[str, str]]:
    """Server-sent events as a browser reads them."""
    told: list[dict[str, str]] = []
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(": ")
        if name:
            fields[name] = value
        elif fields:
            told.append(fields)
            fields = {}
    return told


def heard(gateway: httpx2.Client, job_id: str, last: str | None = None) -> list[dict[str, str]]:
    """Every event of a job's stream, to its end."""
    headers = {} if last is None else {"Last-Event-ID": last}
    with gateway.stream("GET", f"/v1/jobs/{job_id}/events", headers=headers) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        return events(answer.iter_lines())


def costly(unit_seconds: float) -> ModelDescription:
    """One slot, in which a step takes so long by its own account."""
    costs = ModelCosts(
        unit_seconds=unit_seconds,
        guided_rows=2,
        sizes=[SizeCosts(size=MODEL.sizes[0], encode=0, step=1, decode=0)],
    )
    return MODEL.model_copy(update={"slots": 1, "costs": costs})
