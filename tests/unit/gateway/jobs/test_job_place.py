"""A job is told its place and its ETA wherever it waits: for a slot of the model, for a hand, for a stage."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest

from bowerbird.errors import StageUnavailable
from bowerbird.gateway.jobs.carrying import JOBS_IN_HAND

from ..conftest import StartGateway, draw
from ..stand_ins import StandIns
from .submitting import ASYNC, costly, ended, heard, submit

BEYOND = 6
"""Jobs for which there is no hand."""


@pytest.fixture
def held(start_gateway: StartGateway, stages: StandIns) -> Iterator[tuple[httpx2.Client, list[str]]]:
    """A gateway all of whose hands hold a job, of which one is drawn and does not end; and more that wait for hands, in
    the order in which they were accepted."""
    stages.behaviour.described = costly(unit_seconds=1)
    stages.behaviour.until_frames = threading.Event()
    gateway = start_gateway()
    with ThreadPoolExecutor(8) as threads:
        [*threads.map(lambda _: submit(gateway, steps=10), range(JOBS_IN_HAND))]
    until(lambda: states(gateway).count("running") == JOBS_IN_HAND)
    jobs = [submit(gateway, steps=10) for _ in range(BEYOND)]
    yield gateway, jobs
    for job in gateway.get("/v1/jobs", params={"limit": 100}).json()["data"]:
        gateway.delete(f"/v1/jobs/{job['id']}")
    stages.behaviour.until_frames.set()


def states(gateway: httpx2.Client) -> list[str]:
    return [job["status"] for job in gateway.get("/v1/jobs", params={"limit": 100}).json()["data"]]


def until(is_so: Callable[[], bool]) -> None:
    for _ in range(3000):
        if is_so():
            return
        time.sleep(0.02)
    raise AssertionError("it did not come about")


def told(gateway: httpx2.Client, job_id: str) -> dict[str, Any]:
    body: dict[str, Any] = gateway.get(f"/v1/jobs/{job_id}").json()
    return body


def test_jobs_for_which_there_is_no_hand_are_told_their_places_and_etas(
    held: tuple[httpx2.Client, list[str]], stages: StandIns, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway, jobs = held
    until(lambda: told(gateway, jobs[0])["position"] == JOBS_IN_HAND)  # one is drawn, the others wait before it
    bodies = [told(gateway, job_id) for job_id in jobs]
    assert {body["status"] for body in bodies} == {"queued"}
    assert [body["position"] for body in bodies] == [*range(JOBS_IN_HAND, JOBS_IN_HAND + BEYOND)]
    etas = [body["eta_seconds"] for body in bodies]
    assert etas == sorted(set(etas))
    assert etas[0] > JOBS_IN_HAND - 1, "each of those before it takes more than a second"
    answer = draw(gateway, ASYNC, steps=10)
    assert answer.json()["position"] == JOBS_IN_HAND + BEYOND
    assert answer.headers["retry-after"] == "60"
    waited = draw(gateway, {"Prefer": "respond-async, wait=20"}, steps=10)
    assert waited.status_code == 202, "it is known at once that it would wait for longer"
    assert waited.json()["status"] == "queued"

    monkeypatch.setattr("bowerbird.gateway.api.job_stream.HEARTBEAT_SECONDS", 0.05)
    with ThreadPoolExecutor(1) as threads:
        listening = threads.submit(heard, gateway, jobs[0])
        time.sleep(1.0)
        gateway.delete(f"/v1/jobs/{jobs[0]}")
        beats = [event["data"] for event in listening.result() if event["event"] == "heartbeat"]
    assert any(f'"position": {JOBS_IN_HAND}' in beat for beat in beats)
    until(lambda: told(gateway, jobs[1])["position"] == JOBS_IN_HAND)


def test_retry_after_grows_with_the_queue(start_gateway: StartGateway, stages: StandIns) -> None:
    """However fast they come: jobs that are on their way into the queue count as well."""
    stages.behaviour.described = costly(unit_seconds=0.2)
    stages.behaviour.until_frames = threading.Event()
    gateway = start_gateway()
    answers = [draw(gateway, ASYNC, steps=30) for _ in range(5)]
    said = [int(answer.headers["retry-after"]) for answer in answers]
    assert said[0] == 1
    assert said[2:] == sorted(set(said[2:]))
    assert all(1 < seconds <= 60 for seconds in said[2:])
    for answer in answers:
        gateway.delete(answer.headers["location"])


def test_while_nothing_can_draw_it_a_job_is_told_its_place_and_no_eta(
    start_gateway: StartGateway, stages: StandIns
) -> None:
    stages.behaviour.described = costly(unit_seconds=1)
    stages.behaviour.until_frames = threading.Event()
    gateway = start_gateway()
    jobs = [submit(gateway) for _ in range(3)]
    until(lambda: sum((told(gateway, job_id)["eta_seconds"] or 0) > 0 for job_id in jobs) == 2)
    stages.behaviour.answers["/readyz"] = lambda: StageUnavailable("starting", retry_after_seconds=1)
    until(lambda: {told(gateway, job_id)["eta_seconds"] for job_id in jobs} == {None})
    assert sorted(told(gateway, job_id)["position"] or 0 for job_id in jobs) == [0, 1, 2]
    del stages.behaviour.answers["/readyz"]
    stages.behaviour.until_frames.set()
    for job_id in jobs:
        assert ended(gateway, job_id)["status"] == "succeeded"
