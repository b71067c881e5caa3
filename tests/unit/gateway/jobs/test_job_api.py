"""`/v1/jobs` on a real socket: accepted means kept, told about, finished or ended by its caller."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import httpx2
import pytest
from starlette.responses import Response

from bowerbird.contracts import Action
from bowerbird.errors import DrawingFailed, StageUnavailable
from bowerbird.gateway.records.database import FILE_NAME

from ..conftest import GatewayIn, StartGateway, draw, pictures
from ..stand_ins import StandIns, decision, verdicts
from .submitting import ASYNC, costly, ended, heard, submit


def test_respond_async_answers_with_a_job_that_is_drawn(gateway: httpx2.Client) -> None:
    answer = draw(gateway, ASYNC, seed=7)
    assert answer.status_code == 202
    assert answer.headers["preference-applied"] == "respond-async"
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    job_id = answer.json()["id"]
    assert answer.headers["location"] == f"/v1/jobs/{job_id}"
    assert answer.json()["status"] in ("queued", "running")
    job = ended(gateway, job_id)
    assert (job["status"], job["attempts"], job["error"]) == ("succeeded", 1, None)


def test_a_jobs_result_is_what_the_request_would_have_got(gateway: httpx2.Client) -> None:
    at_once = draw(gateway, seed=7, n=2, candidates=2, user="someone")
    job_id = submit(gateway, seed=7, n=2, candidates=2, user="someone")
    ended(gateway, job_id)
    result = gateway.get(f"/v1/jobs/{job_id}/result")
    assert result.status_code == 200
    assert pictures(result) == pictures(at_once)
    ours, theirs = result.json(), at_once.json()
    for body in (ours, theirs):
        for changing in ("request_id", "drawn_by", "trace_id", "seconds"):
            body["bowerbird"].pop(changing)
        body.pop("created")
    assert ours == theirs
    assert result.headers["bowerbird-seeds"] == at_once.headers["bowerbird-seeds"]
    assert ended(gateway, job_id)["compute_units"] > 0


def test_a_caller_who_waits_a_little_gets_the_pictures_when_they_are_there(
    gateway: httpx2.Client, stages: StandIns
) -> None:
    assert draw(gateway, {"Prefer": "respond-async, wait=15"}).status_code == 200
    stages.behaviour.seconds_per_step = 0.1
    answer = draw(gateway, {"Prefer": 'respond-async; foo="bar", wait=1'}, steps=30)
    assert answer.status_code in (200, 202)
    assert draw(gateway, {"Prefer": "respond-async, wait=1"}, steps=30).status_code == 202


def test_a_wait_that_would_be_too_long_turns_into_a_job(start_gateway: StartGateway, stages: StandIns) -> None:
    stages.behaviour.described = costly(unit_seconds=1000)
    stages.behaviour.until_frames = threading.Event()
    gateway = start_gateway()
    first = [submit(gateway, steps=30) for _ in range(2)]
    while gateway.get(f"/v1/jobs/{first[1]}").json()["position"] is None:
        time.sleep(0.01)
    answer = draw(gateway, {"Prefer": "respond-async, wait=3600"}, steps=2)  # it would wait for hours, as it seems

    assert answer.status_code == 202
    assert answer.json()["status"] in ("queued", "running")
    assert answer.json()["eta_seconds"] > 3600
    assert answer.headers["location"] == f"/v1/jobs/{answer.json()['id']}"
    assert answer.headers["retry-after"] == "60"
    assert answer.headers["preference-applied"] == "respond-async"
    for job_id in first:
        gateway.delete(f"/v1/jobs/{job_id}")
    stages.behaviour.until_frames.set()
    assert ended(gateway, answer.json()["id"])["status"] == "succeeded"


def test_cancelling_stops_the_drawing_and_ends_the_job(gateway: httpx2.Client, stages: StandIns) -> None:
    stages.behaviour.until_frames = threading.Event()
    job_id = submit(gateway, steps=29)
    while all(seen.asked is None or seen.asked.steps != 29 for seen in stages.asked("/draw")):  # others' may come
        time.sleep(0.01)
    answer = gateway.delete(f"/v1/jobs/{job_id}")
    assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
    assert stages.draws_stopped.wait(60)
    assert heard(gateway, job_id)[-1]["event"] == "cancelled"
    result = gateway.get(f"/v1/jobs/{job_id}/result")
    assert (result.status_code, result.json()["error"]["code"]) == (409, "job_cancelled")
    assert result.headers["x-should-retry"] == "false"


def test_a_finished_job_cannot_be_cancelled_and_clients_do_not_try_again(gateway: httpx2.Client) -> None:
    job_id = submit(gateway)
    ended(gateway, job_id)
    answer = gateway.delete(f"/v1/jobs/{job_id}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "job_finished")
    assert answer.json()["error"]["state"] == "succeeded"
    assert answer.headers["x-should-retry"] == "false"
    assert gateway.get(f"/v1/jobs/{job_id}/result").status_code == 200


def test_a_result_that_is_not_there_yet_says_when_to_come_back(gateway: httpx2.Client, stages: StandIns) -> None:
    stages.behaviour.seconds_per_step = 0.1
    job_id = submit(gateway, steps=30)
    answer = gateway.get(f"/v1/jobs/{job_id}/result")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "job_not_finished")
    assert int(answer.headers["retry-after"]) >= 1
    assert "x-should-retry" not in answer.headers
    gateway.delete(f"/v1/jobs/{job_id}")


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("DELETE", ""), ("GET", "/events"), ("GET", "/result")])
def test_a_job_of_another_tenant_or_none_is_not_there(start_gateway: StartGateway, method: str, path: str) -> None:
    gateway = start_gateway(api_keys=frozenset({"mine", "theirs"}))
    mine, theirs = ({"Authorization": f"Bearer {key}"} for key in ("mine", "theirs"))
    job_id = submit(gateway, mine)
    for headers, job in ((theirs, job_id), (mine, "job_unknown"), (mine, "%00"), (mine, "x" * 300)):
        answer = gateway.request(method, f"/v1/jobs/{job}{path}", headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "job_not_found")
    assert gateway.get("/v1/jobs", headers=theirs).json()["data"] == []
    assert [job["id"] for job in gateway.get("/v1/jobs", headers=mine).json()["data"]] == [job_id]
    assert gateway.request(method, f"/v1/jobs/{job_id}{path}").status_code == 401


def test_jobs_are_listed_page_by_page_newest_first(start_gateway: StartGateway) -> None:
    gateway = start_gateway()
    submitted = [submit(gateway) for _ in range(5)]
    listed: list[str] = []
    after: str | None = None
    while True:
        page = gateway.get("/v1/jobs", params={"limit": "2"} | ({"after": after} if after else {})).json()
        listed += [job["id"] for job in page["data"]]
        after = page["next_cursor"]
        assert page["has_more"] == (after is not None)
        if after is None:
            break
    assert sorted(listed) == sorted(submitted)
    assert len(listed) == 5


@pytest.mark.parametrize(("name", "value"), [("limit", "0"), ("limit", "101"), ("limit", "x"), ("after", "tampered")])
def test_a_page_that_cannot_be_is_refused(gateway: httpx2.Client, name: str, value: str) -> None:
    answer = gateway.get("/v1/jobs", params={name: value})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, name)


def test_of_a_refused_prompt_nothing_is_kept(start_gateway: StartGateway, stages: StandIns) -> None:
    gateway = start_gateway()
    for action in (Action.BLOCK, Action.CRISIS):
        stages.behaviour.decide = partial(decision, action=action)
        answer = draw(gateway, ASYNC | {"Idempotency-Key": "refused"})
        assert answer.status_code == 400
    assert gateway.get("/v1/jobs").json()["data"] == []
    stages.behaviour.decide = decision
    assert draw(gateway, {"Idempotency-Key": "refused"}).status_code == 200  # nor does the key remember it


def test_a_row_holds_the_redacted_prompt_and_the_answer_says_so(
    gateway_in: GatewayIn, stages: StandIns, tmp_path: Path
) -> None:
    stages.behaviour.decide = lambda check: decision(
        check, Action.REDACT if "Jane" in check.prompt else Action.ALLOW, redacted_prompt="a robin for [PERSON]"
    )
    with gateway_in(tmp_path) as gateway:
        job_id = submit(gateway, prompt="a robin for Jane Doe")
        ended(gateway, job_id)
        result = gateway.get(f"/v1/jobs/{job_id}/result").json()
    assert result["data"][0]["revised_prompt"] == "a robin for [PERSON]"
    assert result["bowerbird"]["safety"] == "redact"
    assert all(each.asked.prompt == "a robin for [PERSON]" for each in stages.asked("/draw"))
    stored = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    assert b"Jane" not in stored
    with sqlite3.connect(tmp_path / FILE_NAME) as database:
        (request,) = database.execute("SELECT request FROM jobs").fetchone()
    database.close()
    assert "a robin for [PERSON]" in request


def test_a_final_refusal_ends_the_job_and_is_its_result(gateway: httpx2.Client, stages: StandIns) -> None:
    stages.behaviour.verdicts = lambda count: verdicts(count, frozenset(range(count)))
    job_id = submit(gateway)
    job = ended(gateway, job_id)
    assert (job["status"], job["attempts"], job["error"]["code"]) == ("failed", 1, "image_blocked")
    result = gateway.get(f"/v1/jobs/{job_id}/result")
    assert (result.status_code, result.json()["error"]["code"]) == (400, "image_blocked")


def test_a_stage_that_fails_does_not_end_a_job(gateway: httpx2.Client, stages: StandIns) -> None:
    left = threading.Semaphore(2)

    def unavailable() -> Response | StageUnavailable:
        if not left.acquire(blocking=False):
            del stages.behaviour.answers["/publish"]
        return StageUnavailable("starting", retry_after_seconds=0)

    stages.behaviour.answers["/publish"] = unavailable
    job_id = submit(gateway, seed=3)
    job = ended(gateway, job_id)
    assert job["status"] == "succeeded"
    assert job["attempts"] >= 3
    assert {each.asked.seed for each in stages.asked("/draw")} == {3}
    assert "put_back" in [event["event"] for event in heard(gateway, job_id)]


def test_a_job_that_breaks_by_itself_is_given_up(
    gateway: httpx2.Client, stages: StandIns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bowerbird.gateway.jobs.outcome.FIRST_REST_SECONDS", 0.0)
    stages.behaviour.answers["/draw"] = lambda: DrawingFailed("numbers ran away")
    job_id = submit(gateway)
    job = ended(gateway, job_id)
    assert (job["status"], job["attempts"]) == ("failed", 5)
    assert (job["error"]["code"], job["error"]["reason"]) == ("job_quarantined", "drawing_failed")


def test_more_jobs_than_may_wait_are_refused(start_gateway: StartGateway, stages: StandIns) -> None:
    stages.behaviour.seconds_per_step = 0.2
    gateway = start_gateway(job_backlog=1)
    answers = [draw(gateway, ASYNC, steps=30) for _ in range(80)]
    refused = [answer for answer in answers if answer.status_code != 202]
    assert refused
    assert {answer.status_code for answer in refused} == {429}
    assert {answer.json()["error"]["code"] for answer in refused} == {"tenant_queue_full"}
    assert int(refused[0].headers["retry-after"]) > 0


def test_a_job_outlives_its_gateway(gateway_in: GatewayIn, stages: StandIns, tmp_path: Path) -> None:
    stages.behaviour.seconds_per_step = 0.2
    with gateway_in(tmp_path) as gateway:
        job_id = submit(gateway, seed=11, steps=30)
        while not stages.asked("/draw"):
            time.sleep(0.01)
    stages.behaviour.seconds_per_step = 0.0
    with gateway_in(tmp_path) as gateway:
        job = ended(gateway, job_id)
        assert (job["status"], job["attempts"]) == ("succeeded", 2)
        assert len(pictures(gateway.get(f"/v1/jobs/{job_id}/result"))) == 1


def test_a_picture_that_is_gone_or_altered_is_a_fact(gateway_in: GatewayIn, stages: StandIns, tmp_path: Path) -> None:
    with gateway_in(tmp_path) as gateway:
        job_id = submit(gateway)
        ended(gateway, job_id)
        (file,) = (tmp_path / "pictures" / "jobs" / job_id).iterdir()
        file.write_bytes(b"altered")
        assert gateway.get(f"/v1/jobs/{job_id}/result").json()["error"]["code"] == "picture_lost"
        file.unlink()
        assert gateway.get(f"/v1/jobs/{job_id}/result").json()["error"]["code"] == "picture_lost"


def test_a_job_that_is_removed_while_its_picture_is_read_is_unknown(gateway_in: GatewayIn, tmp_path: Path) -> None:
    with gateway_in(tmp_path) as gateway, ThreadPoolExecutor(1) as reader:
        job_id = submit(gateway)
        ended(gateway, job_id)
        (file,) = (tmp_path / "pictures" / "jobs" / job_id).iterdir()
        file.unlink()
        os.mkfifo(file)
        answer = reader.submit(gateway.get, f"/v1/jobs/{job_id}/result")
        with file.open("wb"), sqlite3.connect(tmp_path / FILE_NAME) as database:  # open() waits for the reader
            database.execute("DELETE FROM jobs")
            database.commit()
        assert answer.result().json()["error"]["code"] == "job_not_found"
