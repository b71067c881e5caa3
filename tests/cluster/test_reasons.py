"""What keeps a chain from waking reaches whoever waits for it, in Kubernetes' words and within seconds of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx2
import pytest

from .cluster import Cluster
from .jobs import accepted
from .release import MODELS, PICTURE, Release, installed

pytestmark = pytest.mark.timeout(900)

REASON_SECONDS = 5.0
"""From when Kubernetes says so to when a held request is told; the issue's."""
COOLDOWN_SECONDS = 2
SLEEPS: tuple[str, ...] = ("--set", "defaults.scaling.kind=keda", "--set", "services.gateway.scaling.kind=fixed")
SLEEPS += ("--set", f"defaults.scaling.cooldownSeconds={COOLDOWN_SECONDS}", "--set", "image.pullPolicy=IfNotPresent")
QUOTA = "nothing-more"
NOBODYS = "example.com/gpu"
"""A resource that no device plugin here offers."""
NOT_THERE = "nobodys-key"
SMALL = ["curation.resources.requests.memory=64Mi", "curation.resources.limits.memory=64Mi"]
"""Enough to start an interpreter, and too little to import a service."""
WRONG = {
    "no node": (["curation.nodeSelector.nowhere=here"], "Unschedulable", {"Unschedulable"}, "no node can take it"),
    "no device plugin": (
        [f"text-to-image.accelerator.resource={NOBODYS}"],
        "Unschedulable",
        {"Unschedulable"},
        f"No node offers {NOBODYS}.",
    ),
    "no device": (
        ["curation.accelerator.deviceClass=nowhere.example.com"],
        "Unschedulable",
        {"Unschedulable"},
        "nowhere.example.com, which is not there",
    ),
    "no secret": (
        ["text-to-image.model.url=s3://models/none", f"text-to-image.model.existingSecret={NOT_THERE}"],
        "PodInitializing",
        {"FailedMount"},
        f"{NOT_THERE} is not there.",
    ),
    "no image": (
        ["text-to-image.image=bowerbird-nowhere"],
        "ErrImagePull",
        {"ErrImagePull", "ImagePullBackOff"},
        "its image cannot be pulled",
    ),
    "no memory": (SMALL, "OOMKilled", {"OOMKilled", "CrashLoopBackOff"}, "its container"),
}
"""What is wrong -> values that make it so, what Kubernetes says of the pod, how a reason may begin that is told to who
waits, and what the doctor says."""
SAID = (
    "custom-columns=A:.status.conditions[*].reason,B:.status.containerStatuses[*].state.waiting.reason,"
    "C:.status.containerStatuses[*].state.terminated.reason"
)


@pytest.fixture(scope="module")
def release(cluster: Cluster) -> Iterator[Release]:
    """One whose models sleep."""
    with installed(cluster, "reasons", *SLEEPS) as made:
        yield made


@pytest.mark.parametrize("wrong", WRONG, ids=WRONG)
def test_what_is_wrong_with_a_pod_reaches_a_held_job_and_the_doctor(
    release: Release, diagnosis: Callable[[Release], str], wrong: str
) -> None:
    values, said, reasons, found = WRONG[wrong]
    release.upgrade(*(word for value in values for word in ("--set", f"services.{value}")))
    try:
        with release.watched("pods", SAID) as lines, release.reached() as client, held_job(client) as job:
            heard, told, reason = heard_and_told(client, job, lines, said)
            assert found in diagnosis(release)
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


@contextmanager
def held_job(client: httpx2.Client) -> Iterator[str]:
    """The path of a job that waits for a chain which does not wake; it is given up when the block ends."""
    path = f"/v1/jobs/{accepted(client)}"
    try:
        yield path
    finally:
        client.delete(path).raise_for_status()


def heard_and_told(
    client: httpx2.Client, path: str, lines: list[tuple[float, str]], said: str
) -> tuple[float, float, str]:
    """When Kubernetes had said it of a pod and there was the job, when the job's body said so, and how."""
    began = time.monotonic()
    deadline = began + 120
    while (job := client.get(path).json())["reason"] is None:
        assert time.monotonic() < deadline, (job, lines)
        time.sleep(0.1)
    told = time.monotonic()
    heard = [moment for moment, line in lines if said in line.replace(",", " ").split()]
    return max(min(heard, default=began), began), told, str(job["reason"])


def awake(release: Release) -> Iterator[bool]:
    """Of each model, whether it is wanted or has a pod."""
    wanted = release.wanted()
    return (bool(wanted[name] or release.pods(name)) for name in MODELS)
