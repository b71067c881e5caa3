"""What is told of a job while it waits and is drawn: `/v1/jobs/{job}/events`, and its place."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest

from ..conftest import PROMPT, StartGateway
from ..stand_ins import StandIns
from .submitting import costly, ended, heard, submit


def test_events_tell_the_whole_story_once_and_in_order(gateway: httpx2.Client) -> None:
    job_id = submit(gateway)
    told = heard(gateway, job_id)
    assert [int(event["id"]) for event in told] == list(range(1, len(told) + 1))
    kinds = [event["event"] for event in told]
    assert (kinds[:2], kinds[-1]) == (["queued", "running"], "succeeded")
    phases = [json.loads(event["data"])["phase"] for event in told if event["event"] == "phase"]
    assert phases[0] == "check_prompt"
    assert phases[-1] == "publish"
    assert {"draw", "judge", "check_images"} <= set(phases)
    assert all(json.loads(event["data"])["id"] == job_id for event in told)


def test_a_listener_that_comes_back_hears_what_it_missed_and_nothing_twice(gateway: httpx2.Client) -> None:
    job_id = submit(gateway)
    told = heard(gateway, job_id)
    for last in range(len(told)):
        assert heard(gateway, job_id, str(last)) == told[last:]


def test_who_has_heard_everything_is_told_not_to_come_back(gateway: httpx2.Client) -> None:
    job_id = submit(gateway)
    last = heard(gateway, job_id)[-1]["id"]
    assert gateway.get(f"/v1/jobs/{job_id}/events", headers={"Last-Event-ID": last}).status_code == 204


def test_who_listens_while_a_job_is_drawn_hears_it_as_it_happens(gateway: httpx2.Client, stages: StandIns) -> None:
    stages.behaviour.seconds_per_step = 0.02
    job_id = submit(gateway, steps=30)
    kinds = [event["event"] for event in heard(gateway, job_id)]
    assert kinds[-1] == "succeeded"
    assert gateway.get(f"/v1/jobs/{job_id}").json()["status"] == "succeeded"


def test_heartbeats_say_phase_position_and_eta_and_have_no_number(
    start_gateway: StartGateway, stages: StandIns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bowerbird.gateway.api.job_stream.HEARTBEAT_SECONDS", 0.05)
    stages.behaviour.described = costly(unit_seconds=1)
    stages.behaviour.seconds_per_step = 0.05
    gateway = start_gateway()
    jobs = [submit(gateway, steps=30) for _ in range(stages.behaviour.described.slots + 2)]
    first, last = jobs[0], jobs[-1]
    beats: dict[str, list[dict[str, Any]]] = {}
    with ThreadPoolExecutor(2) as threads:
        streams = {job_id: threads.submit(heard, gateway, job_id) for job_id in (first, last)}
    for job_id, stream in streams.items():
        told = stream.result()
        beats[job_id] = [json.loads(event["data"]) for event in told if event["event"] == "heartbeat"]
        numbers = [int(event["id"]) for event in told if event["event"] != "heartbeat"]
        assert numbers == list(range(1, len(numbers) + 1))
        assert all("id" not in event for event in told if event["event"] == "heartbeat")
        assert all(set(beat) == {"id", "phase", "position", "eta_seconds"} for beat in beats[job_id])
    assert any(beat["phase"] in ("draw", "judge", "check_images") for beat in beats[first])
    waited = [beat for beat in beats[last] if beat["phase"] == "admit"]
    assert waited
    assert {beat["position"] for beat in waited} <= {1, 2}
    assert all(beat["eta_seconds"] > 0 for beat in waited)
    for job_id in jobs:
        ended(gateway, job_id)


def test_a_job_that_waits_says_its_place(gateway: httpx2.Client, stages: StandIns) -> None:
    stages.behaviour.until_frames = threading.Event()
    jobs = [submit(gateway, steps=30) for _ in range(stages.behaviour.described.slots + 3)]
    positions: set[int | None] = set()
    for _ in range(1000):
        positions |= {gateway.get(f"/v1/jobs/{job_id}").json()["position"] for job_id in jobs}
        if {1, 2} <= positions:
            break
        time.sleep(0.02)
    assert {None, 1, 2} <= positions
    for job_id in jobs:
        gateway.delete(f"/v1/jobs/{job_id}")


@pytest.mark.parametrize("last", ["x", "-1", "1.5", "9999999999", "١"])
def test_an_event_id_that_is_none_is_refused(gateway: httpx2.Client, last: str) -> None:
    job_id = submit(gateway)
    answer = gateway.get(f"/v1/jobs/{job_id}/events", headers={b"Last-Event-ID": last.encode()})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "Last-Event-ID")


def test_the_prompt_stands_in_no_event(gateway: httpx2.Client) -> None:
    job_id = submit(gateway)
    assert PROMPT not in str(heard(gateway, job_id))
    assert PROMPT not in gateway.get(f"/v1/jobs/{job_id}").text
