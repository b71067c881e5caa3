"""Jobs of a release in a cluster, as a client asks for them."""

from __future__ import annotations

import time

import httpx2

from .release import PICTURE

JOB_SECONDS = 240.0


def accepted(client: httpx2.Client, **asked: object) -> str:
    """A job that draws a picture anew."""
    headers, body = {"Prefer": "respond-async"}, {**PICTURE, "cache": "fresh", **asked}
    answer = client.post("/v1/images/generations", json=body, headers=headers)
    assert answer.status_code == httpx2.codes.ACCEPTED, answer.text
    return str(answer.json()["id"])


def finished(client: httpx2.Client, job: str) -> dict[str, object]:
    """The job, when it has ended."""
    deadline = time.monotonic() + JOB_SECONDS
    while (found := client.get(f"/v1/jobs/{job}").json())["status"] in {"queued", "running"}:
        assert time.monotonic() < deadline, found
        time.sleep(0.5)
    return dict(found)
