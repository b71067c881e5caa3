"""A job may take longer than a request: each time it is too slow by itself it gets twice the time, and not for ever."""

from __future__ import annotations

import time

import httpx2
import pytest

from bowerbird.gateway.records import claims

from ..conftest import StartGateway
from ..stand_ins import StandIns
from .submitting import ended, submit

TIMEOUT_SECONDS = 0.4


@pytest.fixture
def hurried(start_gateway: StartGateway, stages: StandIns) -> httpx2.Client:
    """A gateway that gives a request a moment to compute, before a model that takes three times as long."""
    stages.behaviour.seconds_per_step = TIMEOUT_SECONDS / 10
    return start_gateway(request_timeout_seconds=TIMEOUT_SECONDS)


def test_a_job_that_needs_more_time_than_a_request_gets_it(hurried: httpx2.Client) -> None:
    job = ended(hurried, submit(hurried, steps=30))
    assert job["status"] == "succeeded"
    assert job["attempts"] > 2


def test_a_job_that_is_always_too_slow_ends_with_a_reason(
    hurried: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "MAX_OWN_FAILURES", 2)
    job = ended(hurried, submit(hurried, steps=30))
    assert (job["status"], job["error"]["code"], job["error"]["reason"]) == (
        "failed",
        "job_quarantined",
        "computing_too_long",
    )


def measured(gateway: httpx2.Client, line: str) -> list[str]:
    """All figures as soon as this one is among them: an attempt is counted when its answer may be read already."""
    for _ in range(1_000):
        figures = gateway.get("/metrics").text.splitlines()
        if line in figures:
            return figures
        time.sleep(0.02)
    raise AssertionError(f"{line} was never measured")


def test_what_waits_and_how_attempts_end_is_measured(hurried: httpx2.Client, stages: StandIns) -> None:
    stages.behaviour.seconds_per_step = 0.0
    ended(hurried, submit(hurried))
    figures = measured(hurried, 'bowerbird_job_attempts_total{outcome="succeeded"} 1.0')
    assert "bowerbird_attempts_of_a_job_count 1.0" in figures
    assert {line.split()[0] for line in figures if line.startswith("bowerbird_jobs{")} == {
        'bowerbird_jobs{state="queued"}',
        'bowerbird_jobs{state="running"}',
    }
