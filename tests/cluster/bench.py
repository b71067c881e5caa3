"""How long a cluster and a release take to be there: `make bench-cluster`, from an empty folder on.

Whatever runs here is taken away first. Programs and images are built before the clock starts: what is measured is what
somebody waits for who types `make cluster-up` and `helm install` for the second time.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from benchmarks.results import record, show

from . import cluster as clusters
from .cluster import Cluster
from .machine import Machine
from .product_images import TARGETS, archive
from .release import PICTURE, created, loaded, release_of

GOAL_SECONDS = 120.0
"""A warm cluster with KEDA and Bowerbird, ready; the issue's."""


def bench() -> None:
    """Measures, prints a table, writes benchmarks/results/cluster.json."""
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
    finally:
        clusters.down()
    tell("nothing of it is left")
    report(stages, memory)


def draw_first(running: Cluster, tell: clusters.Tell) -> None:
    """Installs the chart and draws a picture; raises HTTPStatusError where none comes."""
    release = release_of(running, "bowerbird")
    created(release)
    release.upgrade()
    tell("helm install --wait has ended")
    with release.reached() as client:
        client.post("/v1/images/generations", json=PICTURE).raise_for_status()
    tell("the first picture is there")


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


def report(stages: Mapping[str, float], memory: Mapping[str, int]) -> None:
    """Prints and writes what was measured."""
    ready = stages["the first picture is there"]
    rows = [[step, f"{seconds:.1f}", ""] for step, seconds in stages.items()]
    rows.append(["empty folder to first picture", f"{ready:.1f}", f"{GOAL_SECONDS:.0f}"])
    rows += [[f"memory of {name}, MiB", f"{size / 2**20:.0f}", ""] for name, size in memory.items()]
    show("Cluster", ["", "seconds", "goal"], rows)
    figures = {"seconds": dict(stages), "memory_bytes": dict(memory), "first_picture_seconds": ready}
    record("cluster", {**figures, "goal_seconds": GOAL_SECONDS, "holds": ready <= GOAL_SECONDS})
