"""A gateway that is told to end and leaves nobody behind who would keep the order: who waits there is told so."""

from __future__ import annotations

import secrets
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest

from ...postgresql import RunningPostgreSQL
from .crowd import CROWD, PROMPT, SLOTS, Crowd, Stages, assert_drawn, authorized, gateways_before

pytestmark = pytest.mark.timeout(300)


def test_who_waits_for_a_job_that_a_lone_gateway_carries_no_further_is_told_so(
    stages: Stages, tmp_path: Path, crowd: Crowd
) -> None:
    with gateways_before(stages, None, tmp_path, count=1) as gateways, ThreadPoolExecutor(3) as threads:
        [gateway] = gateways.members
        stages.held = True
        drawing = crowd.send(gateway, SLOTS)
        gateway.until("bowerbird_slots_held", SLOTS)

        def asks(seed: int, headers: dict[str, str]) -> httpx2.Response:
            body = {"prompt": PROMPT, "seed": seed, "steps": 4}
            return gateway.client.post("/v1/images/generations", json=body, headers=headers | authorized(CROWD))

        keyed = threads.submit(asks, 101, {"Idempotency-Key": "one"})
        patient = threads.submit(asks, 102, {"Prefer": "respond-async, wait=600"})
        gateway.until("bowerbird_waiting_requests", 2)
        job = gateway.client.get("/v1/jobs", headers=authorized(CROWD)).json()["data"][0]["id"]
        heard = threads.submit(gateway.client.get, f"/v1/jobs/{job}/events", headers=authorized(CROWD))
        gateway.signal(signal.SIGTERM)
        assert (keyed.result().status_code, keyed.result().json()["error"]["code"]) == (503, "gateway_stopping")
        assert patient.result().status_code == 202
        assert "job.succeeded" not in heard.result().text
        stages.held = False
        assert_drawn(drawing)
        assert gateway.process.wait(120) == 0


def test_who_waits_for_an_order_that_nobody_will_keep_is_sent_elsewhere(
    stages: Stages, postgresql: RunningPostgreSQL, tmp_path: Path, crowd: Crowd
) -> None:
    name = f"t{secrets.token_hex(6)}"
    with gateways_before(stages, postgresql.create(name), tmp_path, count=1) as gateways:
        [gateway] = gateways.members
        stages.held = True
        drawing = crowd.send(gateway, SLOTS)
        gateway.until("bowerbird_slots_held", SLOTS)
        waiting = crowd.send(gateway, 4)
        gateway.until("bowerbird_waiting_requests", 4)
        gateway.signal(signal.SIGTERM)
        for answer in waiting.values():
            assert (answer.result().status_code, answer.result().json()["error"]["code"]) == (503, "gateway_stopping")
            assert int(answer.result().headers["retry-after"]) >= 1
        stages.held = False
        assert_drawn(drawing)
        assert gateway.process.wait(120) == 0
    postgresql.drop(name)
