"""Many wakes of a chain that sleeps, and wakes of one that takes long to load: `python -m tests.cluster wakes`.

WAKES (100) says how many. What was measured is written down after each wake, and a run that was stopped goes on where
it was, as long as the commit is the same. Loads are injected from outside of the product: each Deployment is given
a ConfigMap with a `sitecustomize` that sleeps before anything else, since two cores would add real loads up.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx2

from benchmarks.results import commit, record, show

from . import cluster as clusters
from .binaries import cache
from .cluster import Cluster
from .release import MODELS, PICTURE, REPLICAS, Release, installed, woken

DEFAULT_WAKES = 100
SLOW_WAKES = 5
COOLDOWN_SECONDS = 2
GOAL_SECONDS = 1.0
"""Decision to pod created, 95th percentile, and first to last stage wanted; the issue's."""
LOADS: Mapping[str, float] = {"safety": 5.0, "curation": 10.0, "text-to-image": 15.0}
ASLEEP = {
    "defaults.scaling.kind": "keda",
    "defaults.scaling.cooldownSeconds": COOLDOWN_SECONDS,
    "services.gateway.scaling.kind": "fixed",
    "services.gateway.serviceType": "NodePort",
}
PODS = r"custom-columns=COMPONENT:.metadata.labels.app\.kubernetes\.io/component,NAME:.metadata.name"
SLEEPS = "import os, time\ntime.sleep(float(os.environ['LOAD_SECONDS']))\n"


@dataclass(frozen=True, slots=True)
class Wake:
    """One request to a chain without pods, in seconds from when it was sent."""

    wanted_seconds: float
    """Until the last Deployment was wanted by one pod, as a watch heard of it."""
    apart_seconds: float
    """Between the first Deployment and the last."""
    created_seconds: float
    """Until the last of the first pods was there."""
    picture_seconds: float


def wakes() -> None:
    """Measures, prints, writes benchmarks/results/wakes.json; the cluster that runs here, or one of its own."""
    with clusters.at_hand() as running:
        report(*measure(running, int(os.environ.get("WAKES", DEFAULT_WAKES))))


def measure(running: Cluster, count: int) -> tuple[list[Wake], list[Wake]]:
    """Wakes of the chain as it is, then of one that loads slowly."""
    running.kubectl("delete", "namespace", "wakes", "--ignore-not-found", "--timeout=600s")  # of a run that was stopped
    values = [option for name, value in ASLEEP.items() for option in ("--set", f"{name}={value}")]
    with installed(running, "wakes", *values) as release:
        plain = list(resumed("plain", count, release))
        if len(slow := kept("slow")) < SLOW_WAKES:
            load_slowly(release, LOADS)
            slow = list(resumed("slow", SLOW_WAKES, release))
    return plain, slow


def resumed(kind: str, count: int, release: Release) -> Iterator[Wake]:
    """So many wakes, those first that were measured before."""
    found = kept(kind)
    yield from found
    with release.reached_by_node() as client:
        for number in range(len(found), count):
            asleep(release)
            one = wake(release, client)
            with progress_file(kind).open("a") as file:
                file.write(json.dumps(asdict(one)) + "\n")
            print(f"{kind} wake {number + 1} of {count}: {asdict(one)}", file=sys.stderr, flush=True)
            yield one


def kept(kind: str) -> list[Wake]:
    """What was measured of this commit."""
    file = progress_file(kind)
    lines = file.read_text().splitlines() if file.exists() else []
    return [Wake(**json.loads(line)) for line in lines]


def progress_file(kind: str) -> Path:
    """Where wakes of this commit are written down."""
    folder = cache() / "wakes"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{commit().rstrip('+')}-{kind}.jsonl"


def asleep(release: Release) -> None:
    """Returns when no model has a pod, or is wanted."""
    still = COOLDOWN_SECONDS + 180
    release.cluster.until(lambda: not any(release.wanted()[name] for name in MODELS), "nobody wanted", still)
    release.cluster.until(lambda: not any(everything(release)), "no model pod", still)


def everything(release: Release) -> Iterable[object]:
    """The models' pods, also those that are about to end."""
    selector = f"app.kubernetes.io/component in ({','.join(MODELS)})"
    found: list[object] = release.cluster.read(f"/api/v1/namespaces/{release.namespace}/pods", labelSelector=selector)[
        "items"
    ]
    return found


def wake(release: Release, client: httpx2.Client) -> Wake:
    """One request; raises HTTPStatusError where no picture comes."""
    with release.watched("deployments", REPLICAS) as changes, release.watched("pods", PODS) as pods:
        while not changes or not pods:  # both watch: the gateway's pod is there
            time.sleep(0.01)
        sent = time.monotonic()
        answer = client.post("/v1/images/generations", json={**PICTURE, "cache": "fresh"}, timeout=600)
        answered = time.monotonic()
        answer.raise_for_status()
    wanted, created = sorted(woken(changes).values()), created_at(pods)
    return Wake(wanted[-1] - sent, wanted[-1] - wanted[0], max(created.values()) - sent, answered - sent)


def created_at(pods: Iterable[tuple[float, str]]) -> dict[str, float]:
    """Model -> when a pod of it was first heard of."""
    found: dict[str, float] = {}
    for heard, line in pods:
        component = line.split()[0]
        if component in MODELS:
            found.setdefault(component, heard)
    assert set(found) == set(MODELS), f"pods of {sorted(found)} only"
    return found


def load_slowly(release: Release, seconds: Mapping[str, float]) -> None:
    """Each of these services takes so much longer to load from now on."""
    asleep(release)
    release.kubectl("create", "configmap", "slow", f"--from-literal=sitecustomize.py={SLEEPS}")
    for name, load in seconds.items():
        release.kubectl("patch", "deployment", name, "--type=strategic", "--patch", json.dumps(slower(name, load)))


def slower(name: str, seconds: float) -> dict[str, object]:
    """A patch of a Deployment."""
    variables = {"PYTHONPATH": "/slow", "LOAD_SECONDS": str(seconds)}
    container = {
        "name": name,
        "env": [{"name": variable, "value": value} for variable, value in variables.items()],
        "volumeMounts": [{"name": "slow", "mountPath": "/slow", "readOnly": True}],
    }
    volumes = [{"name": "slow", "configMap": {"name": "slow"}}]
    return {"spec": {"template": {"spec": {"containers": [container], "volumes": volumes}}}}


def percentile(values: Sequence[float], part: float) -> float:
    """The nearest rank: at least this part of the values is not above it."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * round(part * 100) // 100) - 1)]


def report(plain: Sequence[Wake], slow: Sequence[Wake]) -> None:
    """Prints and writes what was measured."""
    created = percentile([each.created_seconds for each in plain], 0.95)
    apart = max(each.apart_seconds for each in plain)
    overhead = percentile([each.picture_seconds for each in plain], 0.95)
    bound = max(LOADS.values()) + overhead
    slowest = max(each.picture_seconds for each in slow)
    rows = [
        ["request to pods created, p95", f"{created:.2f}", f"{GOAL_SECONDS:.0f}"],
        ["first to last service wanted, most", f"{apart:.2f}", f"{GOAL_SECONDS:.0f}"],
        ["request to picture, median", f"{statistics.median(each.picture_seconds for each in plain):.1f}", ""],
        ["request to picture, p95", f"{overhead:.1f}", ""],
        [
            f"the same with loads of {', '.join(f'{each:.0f}' for each in LOADS.values())} s, most",
            f"{slowest:.1f}",
            f"{bound:.1f}",
        ],
    ]
    show(f"{len(plain)} wakes from no pod", ["", "seconds", "goal"], rows)
    record(
        "wakes",
        {
            "wakes": [asdict(each) for each in plain],
            "slow_wakes": [asdict(each) for each in slow],
            "loads_seconds": dict(LOADS),
            "created_p95_seconds": created,
            "apart_seconds": apart,
            "overhead_p95_seconds": overhead,
            "slowest_with_loads_seconds": slowest,
            "holds": created <= GOAL_SECONDS and apart <= GOAL_SECONDS and slowest <= bound,
        },
    )
