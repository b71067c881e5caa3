"""From three pods to one while the youngest draws: it stays, since Kubernetes knows that it is busy.

A ReplicaSet that gets smaller deletes by deletion cost first, and then the youngest, where ages are in buckets of
powers of two. KEDA is told to leave text-to-image alone: the test is who scales. ROUNDS says how often; ten are the
issue's. The control comes first and leaves the two that are old: that takes half a minute.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from functools import partial
from typing import Any

import httpx2
import pytest

from .cluster import Cluster
from .release import PICTURE, READY_SECONDS, Release, installed

pytestmark = pytest.mark.timeout(3600)

ROUNDS = int(os.environ.get("ROUNDS", "1"))
YOUNG_SECONDS = 7.0
"""What the youngest has, at least, to be the only one that draws."""
TRIES = 5
"""Where it was not busy alone in time, another youngest is made."""
PODS = 3
OLDER = 4.0
"""How many times as old as the youngest the others are at least."""
COST = "controller.kubernetes.io/pod-deletion-cost"
LONG = {**PICTURE, "cache": "fresh", "steps": 50, "n": 6}
KEDA = {
    "services.text-to-image.scaling.kind": "keda",
    "services.text-to-image.scaling.maxReplicas": PODS,
    "services.text-to-image.scaling.minReplicas": 2,
}


@pytest.fixture(scope="module")
def release(cluster: Cluster) -> Iterator[Release]:
    """One whose pods of text-to-image the test counts."""
    options = [option for name, value in KEDA.items() for option in ("--set", f"{name}={value}")]
    with installed(cluster, "shrinking", *options) as made:
        made.kubectl("annotate", "scaledobject", "text-to-image", "autoscaling.keda.sh/paused=true")
        yield made


def test_without_the_annotation_it_goes_and_finishes_all_the_same(release: Release) -> None:
    asyncio.run(goes_and_finishes(release))


async def goes_and_finishes(release: Release) -> None:
    async with youngest_busy(release) as (youngest, drawing):
        release.kubectl("annotate", "pod", youngest, f"{COST}-")
        release.kubectl("scale", "deployment/text-to-image", "--replicas=2")
        await until(release, lambda: youngest not in release.pods("text-to-image"), "a youngest pod that goes")
        drawn = await drawing
        assert drawn.status_code == httpx2.codes.OK, drawn.text


@pytest.mark.parametrize("number", range(ROUNDS))
def test_the_busy_pod_stays_although_it_is_the_youngest(release: Release, number: int) -> None:
    asyncio.run(stays(release))


async def stays(release: Release) -> None:
    async with youngest_busy(release) as (youngest, drawing):
        release.kubectl("scale", "deployment/text-to-image", "--replicas=1")
        await until(release, lambda: len(release.pods("text-to-image")) == 1, "one pod")
        assert set(release.pods("text-to-image")) == {youngest}
        drawn = await drawing
        assert drawn.status_code == httpx2.codes.OK, drawn.text


@asynccontextmanager
async def youngest_busy(release: Release) -> AsyncIterator[tuple[str, asyncio.Task[httpx2.Response]]]:
    """Three pods, of which the youngest alone draws and is known as busy; its name, and what it draws."""
    with release.reached() as forwarded:
        headers, address = forwarded.headers, forwarded.base_url
        async with httpx2.AsyncClient(base_url=address, headers=headers, timeout=600) as client:
            for _ in range(TRIES):
                scaled(release, 2)
                before = set(release.pods("text-to-image"))
                await until(release, lambda: min(ages(release).values()) > OLDER * YOUNG_SECONDS, "two old pods")
                scaled(release, PODS)
                (youngest,) = set(release.pods("text-to-image")) - before
                if drawing := await drawn_by(release, client, youngest):
                    yield youngest, drawing
                    return
    raise AssertionError("a young pod was never the only one that drew")


async def drawn_by(release: Release, client: httpx2.AsyncClient, pod: str) -> asyncio.Task[httpx2.Response] | None:
    """Something long that this pod draws, and no other draws anything, while it is young. The least busy is asked, so
    one pod after the other gets something long until it is this one's turn; what the others draw is given up then."""
    others: list[asyncio.Task[httpx2.Response]] = []
    long = None
    while long is None and len(others) < PODS and is_young(release, pod):
        known = busy(release)
        asked = asyncio.create_task(client.post("/v1/images/generations", json=LONG))
        await until(release, partial(is_known_or_done, release, known, asked), "another busy pod")
        if pod in busy(release):
            long = asked
        else:
            others.append(asked)
    await given_up(others)
    await until(release, lambda: busy(release) <= {pod}, "nobody else who draws")
    if long is None or (not long.done() and is_young(release, pod)):
        return long
    await given_up([long])
    return None


async def given_up(drawings: list[asyncio.Task[httpx2.Response]]) -> None:
    """Hangs up, where no answer is there yet."""
    for drawing in drawings:
        drawing.cancel()
        with suppress(asyncio.CancelledError):
            (await drawing).raise_for_status()


def is_young(release: Release, pod: str) -> bool:
    """Whether each of the others is OLDER times as old."""
    found = ages(release)
    return all(age >= OLDER * found[pod] for name, age in found.items() if name != pod)


async def until(release: Release, fact: Callable[[], bool], what: str) -> None:
    """As `Cluster.until`, while answers arrive."""
    await asyncio.to_thread(release.cluster.until, fact, what, 600)


def is_known_or_done(release: Release, known: set[str], drawing: asyncio.Task[httpx2.Response]) -> bool:
    """Whether Kubernetes knows of one more busy pod, or the drawing has ended before."""
    return drawing.done() or busy(release) > known


def scaled(release: Release, count: int) -> None:
    """Returns when there are so many pods, ready."""
    release.kubectl("scale", "deployment/text-to-image", f"--replicas={count}")
    release.kubectl("rollout", "status", "deployment/text-to-image", f"--timeout={READY_SECONDS}s")
    release.cluster.until(lambda: len(release.pods("text-to-image")) == count, f"{count} pods")


def busy(release: Release) -> set[str]:
    """Pods that Kubernetes knows as busy."""
    found = (each["metadata"] for each in release.listed("text-to-image"))
    return {each["name"] for each in found if COST in each.get("annotations", {})}


def ages(release: Release) -> dict[str, float]:
    """Seconds since each pod was ready, which is the age that counts."""
    now = time.time()
    return {each["metadata"]["name"]: now - ready_since(each) for each in release.listed("text-to-image")}


def ready_since(pod: dict[str, Any]) -> float:
    """Unix seconds."""
    (moment,) = [each["lastTransitionTime"] for each in pod["status"]["conditions"] if each["type"] == "Ready"]
    return datetime.fromisoformat(moment).timestamp()
