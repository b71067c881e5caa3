"""From three pods to one while the youngest draws: `python -m tests.cluster scale-downs`, and one of them as a test.

A ReplicaSet that gets smaller deletes by deletion cost first, and then the youngest, where ages are in buckets of
powers of two. KEDA is told to leave text-to-image alone: who measures is who scales. The control, whose youngest has no
deletion cost, leaves the two that are old: that takes half a minute. ROUNDS (10) says how often.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial
from typing import Any

import httpx2

from benchmarks.results import record, show

from . import cluster as clusters
from .cluster import Cluster
from .release import PICTURE, READY_SECONDS, Release, installed

DEFAULT_ROUNDS = 10
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


@dataclass(frozen=True, slots=True)
class ScaleDown:
    """One, by what was there when it was asked for and afterwards."""

    youngest_seconds: float
    """How long the busy pod had been ready."""
    others_seconds: float
    """The same of the next youngest."""
    stayed: bool
    status: int
    """Of the answer that the busy pod drew."""


def scale_downs() -> None:
    """Measures, prints, writes benchmarks/results/scale_downs.json; the cluster that runs here, or one of its own."""
    with clusters.at_hand() as running, shrinking(running) as release:
        control = asyncio.run(without_cost(release))
        rounds = []
        for number in range(int(os.environ.get("ROUNDS", DEFAULT_ROUNDS))):
            rounds.append(asyncio.run(with_cost(release)))
            print(f"scale-down {number + 1}: {asdict(rounds[-1])}", file=sys.stderr, flush=True)
    report(control, rounds)


@contextmanager
def shrinking(cluster: Cluster) -> Iterator[Release]:
    """One whose pods of text-to-image whoever measures counts."""
    options = [option for name, value in KEDA.items() for option in ("--set", f"{name}={value}")]
    with installed(cluster, "shrinking", *options) as made:
        made.kubectl("annotate", "scaledobject", "text-to-image", "autoscaling.keda.sh/paused=true")
        yield made


async def without_cost(release: Release) -> ScaleDown:
    """From three to two, where nothing says that the youngest is busy."""
    async with youngest_busy(release) as (youngest, drawing):
        release.kubectl("annotate", "pod", youngest, f"{COST}-")
        found = ages(release)
        release.kubectl("scale", "deployment/text-to-image", "--replicas=2")
        await until(release, lambda: len(release.pods("text-to-image")) == PODS - 1, "two pods")
        return await seen(release, found, youngest, drawing)


async def with_cost(release: Release) -> ScaleDown:
    """From three to one."""
    async with youngest_busy(release) as (youngest, drawing):
        found = ages(release)
        release.kubectl("scale", "deployment/text-to-image", "--replicas=1")
        await until(release, lambda: len(release.pods("text-to-image")) == 1, "one pod")
        return await seen(release, found, youngest, drawing)


async def seen(
    release: Release, before: dict[str, float], youngest: str, drawing: asyncio.Task[httpx2.Response]
) -> ScaleDown:
    """What became of the youngest and of what it draws."""
    stayed = youngest in release.pods("text-to-image")
    others = min(age for name, age in before.items() if name != youngest)
    return ScaleDown(before[youngest], others, stayed, (await drawing).status_code)


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
            answer = await drawing
            assert answer.status_code == httpx2.codes.OK, answer.text


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


def report(control: ScaleDown, rounds: Sequence[ScaleDown]) -> None:
    """Prints and writes what was measured."""
    stayed = sum(each.stayed for each in rounds)
    drawn = sum(each.status == httpx2.codes.OK for each in rounds)
    oldest = max(each.youngest_seconds / each.others_seconds for each in rounds)
    rows = [
        ["the busy pod stayed", f"{stayed} of {len(rounds)}", f"{len(rounds)}"],
        ["its picture came", f"{drawn} of {len(rounds)}", f"{len(rounds)}"],
        ["its part of the others' age, most", f"{oldest:.2f}", f"{1 / OLDER}"],
        ["without its deletion cost", "stayed" if control.stayed else "went, and finished", "went"],
    ]
    show(f"{len(rounds)} times from three pods to one while the youngest draws", ["", "", "goal"], rows)
    record(
        "scale_downs",
        {
            "control": asdict(control),
            "rounds": [asdict(each) for each in rounds],
            "holds": stayed == drawn == len(rounds) and not control.stayed and control.status == httpx2.codes.OK,
        },
    )
