"""Two gateways on one PostgreSQL and one S3: a job is the same job at either."""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.postgresql import RunningPostgreSQL
from tests.s3 import RunningS3

from ..conftest import GatewayIn, draw, pictures
from ..stand_ins import StandIns
from ..test_edits import HOLE, edit
from .submitting import ASYNC, ended, heard, holds_a_slot, submit

DRAWN = ("draw", "judge", "check_images")


@pytest.fixture
def shared(
    postgresql: RunningPostgreSQL, newest_template: str, s3: RunningS3, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, str]]:
    """Settings of all replicas: a database, and a place for pictures."""
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    name = f"t{secrets.token_hex(6)}"
    yield {"database_url": postgresql.create(name, newest_template), "pictures_url": f"{s3.bucket_url}/{name}"}
    postgresql.drop(name)


@pytest.fixture
def replicas(
    gateway_in: GatewayIn, shared: dict[str, str], tmp_path: Path
) -> Iterator[tuple[httpx2.Client, httpx2.Client]]:
    """Two gateways, each with a home of its own."""
    with gateway_in(tmp_path / "one", **shared) as one, gateway_in(tmp_path / "two", **shared) as two:
        yield one, two


def test_a_job_of_one_gateway_is_heard_and_fetched_at_the_other(replicas: tuple[httpx2.Client, httpx2.Client]) -> None:
    one, two = replicas
    job_ids = [submit(one, seed=seed) for seed in range(6)]
    for seed, job_id in enumerate(job_ids):
        assert heard(two, job_id)[-1]["event"] == "succeeded"
        results = [replica.get(f"/v1/jobs/{job_id}/result") for replica in replicas]
        assert results[0].headers["bowerbird-seeds"] == str(seed)
        assert pictures(results[0]) == pictures(results[1])
    cursor = one.get("/v1/jobs", params={"limit": 2}).json()["next_cursor"]
    assert len(two.get("/v1/jobs", params={"after": cursor}).json()["data"]) == 4


def test_a_key_sent_to_both_gateways_is_drawn_once(
    replicas: tuple[httpx2.Client, httpx2.Client], stages: StandIns
) -> None:
    answers = [draw(replica, {"Idempotency-Key": "k"}, seed=5) for replica in (*replicas, *replicas)]
    assert len({tuple(pictures(answer)) for answer in answers}) == 1
    assert len(stages.asked("/draw")) == 1
    days = [day for replica in replicas for day in replica.get("/v1/usage").json()["data"]]
    assert [day["requests"] for day in days] == [1, 1]


def test_a_job_that_is_cancelled_at_another_gateway_is_drawn_no_further(
    gateway_in: GatewayIn,
    shared: dict[str, str],
    stages: StandIns,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody looks by itself whether the claim is void: whoever carries it is told."""
    monkeypatch.setattr("bowerbird.gateway.jobs.carrying.RENEW_SECONDS", 3600.0)
    monkeypatch.setattr("bowerbird.gateway.jobs.carrying.LEASE_SECONDS", 3600.0)
    stages.behaviour.until_frames = threading.Event()
    with gateway_in(tmp_path / "one", **shared) as one, gateway_in(tmp_path / "two", **shared) as two:
        job_id = submit(one, steps=30)
        while not stages.asked("/draw"):
            time.sleep(0.01)
        [carrier] = [each for each in (one, two) if holds_a_slot(each)]
        other = two if carrier is one else one
        for each in (carrier, other):
            while (job := each.get(f"/v1/jobs/{job_id}").json())["phase"] not in DRAWN:
                time.sleep(0.01)
            assert job["position"] is None
        assert other.delete(f"/v1/jobs/{job_id}").json()["status"] == "cancelled"
        assert stages.draws_stopped.wait(10)
        assert ended(carrier, job_id)["status"] == "cancelled"
        assert heard(carrier, job_id)[-1]["event"] == "cancelled"


def test_who_listens_at_another_gateway_hears_the_phase_too(
    replicas: tuple[httpx2.Client, httpx2.Client], stages: StandIns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bowerbird.gateway.api.job_stream.HEARTBEAT_SECONDS", 0.05)
    stages.behaviour.seconds_per_step = 0.1
    one, two = replicas
    beats = [event for event in heard(two, submit(one, steps=30)) if event["event"] == "heartbeat"]
    assert {json.loads(beat["data"])["phase"] for beat in beats} & {"draw", "judge", "check_images"}


def test_an_edit_whose_gateway_has_gone_is_drawn_at_the_other_from_its_files(
    gateway_in: GatewayIn, shared: dict[str, str], stages: StandIns, tmp_path: Path
) -> None:
    stages.behaviour.until_frames = threading.Event()
    with gateway_in(tmp_path / "one", **shared) as one:
        job = edit(one, mask=HOLE, headers=ASYNC, seed=5)
        while not stages.asked("/draw"):
            time.sleep(0.01)
    stages.behaviour.until_frames.set()
    with gateway_in(tmp_path / "two", **shared) as two:
        assert ended(two, job.json()["id"])["status"] == "succeeded"
        first, second = ((each.asked, each.frames) for each in stages.asked("/draw"))
        assert first == second
        kept = edit(two, mask=HOLE, headers={"Idempotency-Key": "k"}, seed=5)
        assert pictures(kept) == pictures(two.get(f"/v1/jobs/{job.json()['id']}/result"))
        other = edit(two, image=HOLE, mask=HOLE, headers={"Idempotency-Key": "k"}, seed=5)
        assert other.status_code == 422
