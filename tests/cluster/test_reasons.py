"""What keeps a chain from waking reaches whoever waits for it, in Kubernetes' words and within seconds of them."""

from __future__ import annotations

import time
from collections.abc import Iterator

import httpx2
import pytest

from .cluster import Cluster
from .release import MODELS, PICTURE, Release, installed

pytestmark = pytest.mark.timeout(900)

REASON_SECONDS = 5.0
"""From when Kubernetes says so to when a held request is told; the issue's."""
COOLDOWN_SECONDS = 2
SLEEPS: tuple[str, ...] = ("--set", "defaults.scaling.kind=keda", "--set", "services.gateway.scaling.kind=fixed")
SLEEPS += ("--set", f"defaults.scaling.cooldownSeconds={COOLDOWN_SECONDS}", "--set", "image.pullPolicy=IfNotPresent")
QUOTA = "nothing-more"
SMALL = ["curation.resources.requests.memory=64Mi", "curation.resources.limits.memory=64Mi"]
"""Enough to start an interpreter, and too little to import a service."""
SAID = (
    "custom-columns=A:.status.conditions[*].reason,B:.status.containerStatuses[*].state.waiting.reason,"
    "C:.status.containerStatuses[*].state.terminated.reason"
)


@pytest.fixture(scope="module")
def release(cluster: Cluster) -> Iterator[Release]:
    """One whose models sleep."""
    with installed(cluster, "reasons", *SLEEPS) as made:
        yield made


@pytest.mark.parametrize(
    ("values", "said", "reasons"),
    [
        (["curation.nodeSelector.nowhere=here"], "Unschedulable", {"Unschedulable"}),
        (["curation.accelerator.deviceClass=nowhere.example.com"], "Unschedulable", {"Unschedulable"}),
        (["text-to-image.image=bowerbird-nowhere"], "ErrImagePull", {"ErrImagePull", "ImagePullBackOff"}),
        (SMALL, "OOMKilled", {"OOMKilled", "CrashLoopBackOff"}),
    ],
    ids=["no node", "no device", "no image", "no memory"],
)
def test_what_is_wrong_with_a_pod_reaches_a_held_job(
    release: Release, values: list[str], said: str, reasons: set[str]
) -> None:
    release.upgrade(*(word for value in values for word in ("--set", f"services.{value}")))
    try:
        with release.watched("pods", SAID) as lines, release.reached() as client:
            heard, told, reason = heard_and_told(client, lines, said)
    finally:
        release.upgrade(wait=False)
    release.cluster.until(lambda: not any(awake(release)), "everybody asleep", seconds=300)
    assert reason.partition(":")[0] in reasons, reason
    assert told - heard <= REASON_SECONDS


def test_a_quota_that_is_used_up_is_told_at_once(release: Release) -> None:
    used = str(len(release.pods()))
    release.kubectl("create", "quota", QUOTA, f"--hard=pods={used}")
    path = "jsonpath={.status.used.pods}"
    release.cluster.until(
        lambda: release.kubectl("get", "quota", QUOTA, "--output", path) == used, "a quota that counts"
    )
    try:
        with release.reached() as client:
            began = time.monotonic()
            answer = client.post("/v1/images/generations", json={**PICTURE, "cache": "fresh"}, timeout=300)
            took = time.monotonic() - began
    finally:
        release.kubectl("delete", "quota", QUOTA)
    assert answer.status_code == httpx2.codes.SERVICE_UNAVAILABLE, answer.text
    assert "exceeded quota: nothing-more" in answer.json()["error"]["reason"]
    assert took <= REASON_SECONDS
    release.cluster.until(lambda: not any(awake(release)), "everybody asleep", seconds=300)


def heard_and_told(client: httpx2.Client, lines: list[tuple[float, str]], said: str) -> tuple[float, float, str]:
    """When Kubernetes had said it of a pod and there was a job, when the job's body said so, and how; the job is given
    up then."""
    headers = {"Prefer": "respond-async"}
    made = client.post("/v1/images/generations", json={**PICTURE, "cache": "fresh"}, headers=headers)
    assert made.status_code == httpx2.codes.ACCEPTED, made.text
    accepted = time.monotonic()
    deadline = accepted + 120
    path = f"/v1/jobs/{made.json()['id']}"
    while (job := client.get(path).json())["reason"] is None:
        assert time.monotonic() < deadline, (job, lines)
        time.sleep(0.1)
    told = time.monotonic()
    client.delete(path).raise_for_status()
    heard = [moment for moment, line in lines if said in line.replace(",", " ").split()]
    return max(min(heard, default=accepted), accepted), told, str(job["reason"])


def awake(release: Release) -> Iterator[bool]:
    """Of each model, whether it is wanted or has a pod."""
    wanted = release.wanted()
    return (bool(wanted[name] or release.pods(name)) for name in MODELS)
