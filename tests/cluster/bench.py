"""How long a cluster, a release and a service that sleeps take to be there: `make bench-cluster`.

Whatever runs here is taken away first. Programs and images are built before the clock starts: what is measured is what
somebody waits for who types `make cluster-up` and `helm install` for the second time, and then who asks for a picture
where nobody has for a while.
"""

from __future__ import annotations

import re
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx2

from benchmarks.results import record, show

from . import cluster as clusters
from .cluster import Cluster
from .machine import Machine
from .product_images import TARGETS, archive
from .release import MODELS, PICTURE, REPLICAS, Release, created, loaded, release_of, woken

GOAL_SECONDS = 120.0
"""A warm cluster with KEDA and Bowerbird, ready; the issue's."""
TOGETHER_GOAL_SECONDS = 1.0
DECISION_GOAL_SECONDS = 1.0
UNAVAILABLE = 503
WAKES = 5
COOLDOWN_SECONDS = 10
ASLEEP = (
    *("--set", "defaults.scaling.kind=keda"),
    *("--set", f"defaults.scaling.cooldownSeconds={COOLDOWN_SECONDS}"),
    *("--set", "services.gateway.scaling.kind=fixed"),
)
PHASE = re.compile(r'^bowerbird_wake_seconds_(sum|count){phase="(\w+)",service="([\w-]+)"} (.+)$', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Wake:
    """One request to a chain without pods, in seconds from when it was sent."""

    first_wanted_seconds: float
    """Until the first Deployment was wanted by one pod, as a watch heard of it."""
    apart_seconds: float
    """Between the first Deployment and the last."""
    picture_seconds: float


def bench() -> None:
    """Measures, prints tables, writes benchmarks/results/cluster.json."""
    for target in TARGETS:
        archive(target)
    stages: dict[str, float] = {}
    began = time.monotonic()

    def tell(step: str) -> None:
        stages[step] = time.monotonic() - began
        print(f"{stages[step]:6.1f} s  {step}", file=sys.stderr, flush=True)

    try:
        running = clusters.up(tell)
        loaded(running)
        tell("both nodes have Bowerbird's images")
        draw_first(running, tell)
        memory = {name: resident_bytes(machine) for name, machine in running.machines.items()}
        running.helm("uninstall", "bowerbird", "--namespace", "bowerbird", "--wait")
        wakes, phases = wake_again_and_again(running)
        ended = time.monotonic()
    finally:
        clusters.down()
    report(stages, memory, wakes, phases, down_seconds=time.monotonic() - ended)


def draw_first(running: Cluster, tell: clusters.Tell) -> None:
    """Installs the chart and draws a picture; raises HTTPStatusError where none comes."""
    release = release_of(running, "bowerbird")
    created(release)
    release.upgrade()
    tell("helm install --wait has ended")
    with release.reached() as client:
        # As any SDK does: a gateway has not seen a pod that became ready this second.
        while (answer := client.post("/v1/images/generations", json=PICTURE)).status_code == UNAVAILABLE:
            time.sleep(float(answer.headers["Retry-After"]))
        answer.raise_for_status()
    tell("the first picture is there")


def wake_again_and_again(running: Cluster) -> tuple[list[Wake], Mapping[str, float]]:
    """Wakes of a release whose models sleep, and the mean seconds of each phase of text-to-image."""
    release = release_of(running, "asleep", *ASLEEP)
    created(release)
    release.upgrade()
    wakes = []
    with release.reached() as client:
        for number in range(WAKES):
            running.until(lambda: not any(map(release.pods, MODELS)), "no model pod", seconds=COOLDOWN_SECONDS + 120)
            wakes.append(wake(release, client))
            print(f"wake {number + 1} of {WAKES}: {asdict(wakes[-1])}", file=sys.stderr, flush=True)
        return wakes, phases_of(client.get("/metrics").text, "text-to-image")


def wake(release: Release, client: httpx2.Client) -> Wake:
    """One request; raises HTTPStatusError where no picture comes."""
    with release.watched("deployments", REPLICAS) as changes:
        while not changes:  # it watches
            time.sleep(0.01)
        sent = time.monotonic()
        picture = {**PICTURE, "cache": "fresh"}
        client.post("/v1/images/generations", json=picture, timeout=600).raise_for_status()
        answered = time.monotonic()
    wanted = sorted(woken(changes).values())
    return Wake(wanted[0] - sent, wanted[-1] - wanted[0], answered - sent)


def phases_of(metrics: str, service: str) -> dict[str, float]:
    """Phase -> mean seconds, as the gateway counted them."""
    found = {(kind, phase): float(value) for kind, phase, name, value in PHASE.findall(metrics) if name == service}
    return {phase: total / found["count", phase] for (kind, phase), total in found.items() if kind == "sum"}


def resident_bytes(machine: Machine) -> int:
    """Memory of all processes of a machine, its pods' too: the sum of their proportional shares."""
    total = 0
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            if entry.name.isdigit() and is_below(int(entry.name), machine.init):
                total += proportional_bytes(entry)
    return total


def is_below(pid: int, init: int) -> bool:
    """Whether a process is a machine's init or one that came of it."""
    while pid not in {0, init}:
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return pid == init


def proportional_bytes(process: Path) -> int:
    """Pages of one process, each shared one divided by how many share it."""
    for line in (process / "smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def report(
    stages: Mapping[str, float],
    memory: Mapping[str, int],
    wakes: Sequence[Wake],
    phases: Mapping[str, float],
    *,
    down_seconds: float,
) -> None:
    """Prints and writes what was measured."""
    ready = stages["the first picture is there"]
    apart = max(each.apart_seconds for each in wakes)
    decided = max(each.first_wanted_seconds for each in wakes)
    rows = [[step, f"{seconds:.1f}", ""] for step, seconds in stages.items()]
    rows.append(["empty folder to first picture", f"{ready:.1f}", f"{GOAL_SECONDS:.0f}"])
    rows.append(["all of it taken away", f"{down_seconds:.1f}", ""])
    rows += [[f"memory of {name}, MiB", f"{size / 2**20:.0f}", ""] for name, size in memory.items()]
    show("Cluster", ["", "seconds", "goal"], rows)
    waking = [
        ["request to first pod wanted, most", f"{decided:.2f}", f"{DECISION_GOAL_SECONDS:.0f}"],
        ["first to last of three services, most", f"{apart:.2f}", f"{TOGETHER_GOAL_SECONDS:.0f}"],
        ["request to picture, median", f"{statistics.median(each.picture_seconds for each in wakes):.1f}", ""],
        *([f"text-to-image, phase {phase}, mean", f"{seconds:.2f}", ""] for phase, seconds in phases.items()),
    ]
    show(f"{len(wakes)} wakes from no pod", ["", "seconds", "goal"], waking)
    record(
        "cluster",
        {
            "seconds": dict(stages),
            "down_seconds": down_seconds,
            "memory_bytes": dict(memory),
            "first_picture_seconds": ready,
            "first_picture_goal_seconds": GOAL_SECONDS,
            "wakes": [asdict(each) for each in wakes],
            "phases_seconds": dict(phases),
            "wake_goals_seconds": {"first_wanted": DECISION_GOAL_SECONDS, "apart": TOGETHER_GOAL_SECONDS},
            "holds": ready <= GOAL_SECONDS and apart <= TOGETHER_GOAL_SECONDS and decided <= DECISION_GOAL_SECONDS,
        },
    )
