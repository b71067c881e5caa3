"""From no pod to pods and back, again and again, a fault each time: `python -m tests.cluster cycles`.

CYCLES (100) says how many and SEED (1) which. Each cycle wakes the chain by plain requests and by jobs with keys of
their own, strikes while work is under way (`cycle_plan`), and counts when all has been answered and everybody sleeps
again: what was accepted and is not there, what is there twice, and what a client with OpenAI's own retries did not get.
The table is benchmarks/results/cycles.json, written after every cycle; a run that was stopped does what is missing.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import openai

from benchmarks.results import RESULTS, commit, record, show

from ..postgresql import RunningPostgreSQL, running_postgresql
from ..s3 import running_s3
from . import cluster as clusters
from .cluster import Cluster
from .cycle_plan import Cycle, Moment, Victim, Way, plan
from .machine import command_line
from .release import MODELS, PICTURE, Release, painter
from .several import several_gateways

NAMESPACE = "cycles"
DEFAULT_CYCLES, DEFAULT_SEED = 100, 1
COOLDOWN_SECONDS = 2
SETTLED_SECONDS = 600.0
AT_ONCE = {"crashLoopBackOff": {"maxContainerRestartPeriod": "2s"}}
"""Whose process is killed cycle after cycle is started again at once each time, by kubelets that are told so."""
AWAY_SECONDS = 60.0
RESTARTED_SECONDS = 5.0
"""Whoever is struck goes on, or another in its place, within that; the issue's."""
WAIT_BOUND_SECONDS = 300.0 + 600.0 + 120.0
"""`keda.wakeSeconds`, `keda.nodeSeconds` and what one request may compute: later nobody is answered."""
MARKS = {Victim.GATEWAY: "bowerbird.gateway.main", Victim.KEDA: "keda"}
"""By which a process is known that runs in a pod."""
SUPERVISED = {Victim.SCHEDULER: ("control", "kube-scheduler"), Victim.KUBELET: ("cpu", "kubelet")}
"""Machine and service of who runs beside pods."""


@dataclass(slots=True)
class Row:
    """What came of one cycle."""

    cycle: dict[str, object]
    commit: str
    in_flight: int = 0
    """Requests and jobs that had not ended when the fault struck, of a gateway its own: none, and it proves nothing."""
    failed: list[str] = field(default_factory=list)
    """Plain requests that OpenAI's client did not get, with its retries."""
    lost: list[str] = field(default_factory=list)
    """Jobs that were accepted and did not succeed."""
    doubled: int = 0
    """Jobs beyond one for each key, and endings, pictures and entries of usage beyond one for each job."""
    away_seconds: float = 0.0
    """How long whoever was struck did nothing: stopped, or until a process was there in its place."""
    slowest_seconds: float = 0.0
    seconds: float = 0.0

    @property
    def holds(self) -> bool:
        """Nothing lost, nothing twice, everybody answered in time, and the fault, a short one, met work."""
        in_time = self.slowest_seconds <= WAIT_BOUND_SECONDS and self.away_seconds <= RESTARTED_SECONDS
        return bool(self.in_flight) and not (self.failed or self.lost or self.doubled) and in_time


def cycles() -> None:
    """Runs what is missing of the table; the cluster that runs here, or one of its own."""
    seed, count = int(os.environ.get("SEED", DEFAULT_SEED)), int(os.environ.get("CYCLES", DEFAULT_CYCLES))
    rows = rows_of(seed)
    with clusters.at_hand(AT_ONCE) as running, site(running) as (release, postgresql):
        for cycle in plan(seed, count):
            if cycle.number in rows:
                continue
            rows[cycle.number] = run(cycle, release, postgresql)
            report(seed, [rows[number] for number in sorted(rows)])
            print(f"cycle {cycle.number} of {count}: {asdict(rows[cycle.number])}", file=sys.stderr, flush=True)


@contextmanager
def site(running: Cluster) -> Iterator[tuple[Release, RunningPostgreSQL]]:
    """Two gateways whose models sleep, and their database."""
    running.kubectl(
        "delete", "namespace", NAMESPACE, "--ignore-not-found", "--timeout=600s"
    )  # of a run that was stopped
    with ExitStack() as stack:
        postgresql = stack.enter_context(running_postgresql())
        s3 = stack.enter_context(running_s3())
        yield stack.enter_context(several_gateways(running, NAMESPACE, postgresql, s3, COOLDOWN_SECONDS)), postgresql


def run(cycle: Cycle, release: Release, postgresql: RunningPostgreSQL) -> Row:
    """One cycle, from everybody asleep until everybody is again."""
    row, began = Row(asdict(cycle), commit()), time.monotonic()
    asleep(release)
    before = Books.of(postgresql)
    with release.reached_by_node() as client, ThreadPoolExecutor(cycle.requests + cycle.jobs) as threads:
        plain = [threads.submit(drawn, client, seed) for seed in range(cycle.requests)]
        keys = [f"{cycle.number}-{number}-{secrets.token_hex(4)}" for number in range(cycle.jobs)]
        jobs = [threads.submit(accepted, client, key) for key in keys]
        gateways = addresses(release)
        while not seen(cycle, release, gateways, plain):  # all of them are drawn between two looks: some more, then
            plain += [threads.submit(drawn, client, len(plain) + seed) for seed in range(cycle.requests)]
        unfinished = cycle.jobs - (Books.of(postgresql).ended - before.ended)
        row.in_flight = sum(not each.done() for each in plain) + unfinished
        if cycle.victim is Victim.GATEWAY:
            row.in_flight = min(row.in_flight, max(map(load, gateways)))
        row.away_seconds = strike(cycle, release, postgresql)
        for each in plain:
            seconds, failure = each.result()
            row.slowest_seconds = max(row.slowest_seconds, seconds)
            row.failed += [failure] if failure else []
        ids = [each.result() for each in jobs]
        row.lost = [f"{job}: {state}" for job in ids if (state := ended(client, job)) != "succeeded"]
        row.doubled = jobs_of(client, keys, ids)
    asleep(release)
    row.doubled += Books.of(postgresql).beyond(before, len(keys))
    row.seconds = time.monotonic() - began
    return row


def drawn(client: httpx2.Client, seed: int) -> tuple[float, str]:
    """How long a plain request took, and what OpenAI's client said in the end, if it got no picture."""
    began = time.monotonic()
    try:
        painter(client).images.generate(
            prompt=str(PICTURE["prompt"]), extra_body={"seed": seed, "cache": "fresh"}, timeout=WAIT_BOUND_SECONDS
        )
    except openai.OpenAIError as error:
        return time.monotonic() - began, f"{type(error).__name__}: {error}"
    return time.monotonic() - began, ""


def accepted(client: httpx2.Client, key: str) -> str:
    """The job that a key stands for; who is not answered asks again by the same key."""
    headers = {"Prefer": "respond-async", "Idempotency-Key": key}
    body = {**PICTURE, "cache": "fresh", "user": key}
    deadline = time.monotonic() + SETTLED_SECONDS
    while time.monotonic() < deadline:
        with suppress(httpx2.TransportError):
            answer = client.post("/v1/images/generations", json=body, headers=headers)
            if answer.is_success:  # the job, or, of one that has succeeded, its pictures
                return str(answer.headers["Location"].rpartition("/")[2])
            assert answer.status_code in {429, 500, 502, 503, 504}, answer.text
        time.sleep(0.5)
    raise TimeoutError(f"{key} was never accepted")


def ended(client: httpx2.Client, job: str) -> str:
    """The state that a job ended in, or is in when nobody waits any longer."""
    state, deadline = "unknown", time.monotonic() + SETTLED_SECONDS
    while time.monotonic() < deadline:
        with suppress(httpx2.TransportError):
            answer = client.get(f"/v1/jobs/{job}")
            if answer.is_success:
                state = str(answer.json()["status"])
                if state not in {"queued", "running"}:
                    return state
            elif answer.status_code == httpx2.codes.NOT_FOUND:
                return "gone"
        time.sleep(0.5)
    return state


def jobs_of(client: httpx2.Client, keys: list[str], ids: list[str]) -> int:
    """Jobs beyond one for each key: what a key that is sent again stands for is the job that it stood for."""
    return sum(accepted(client, key) != job for key, job in zip(keys, ids, strict=True)) + len(ids) - len(set(ids))


@dataclass(frozen=True, slots=True)
class Books:
    """How many rows of each kind the release's database has."""

    jobs: int
    ended: int
    """Jobs that have ended."""
    endings: int
    """Events that tell of a success."""
    pictures: int
    entries: int
    """Of the jobs' usage."""

    @classmethod
    def of(cls, postgresql: RunningPostgreSQL) -> Books:
        """As they are now."""
        ended = "SELECT count(*) FROM jobs WHERE finished_ms IS NOT NULL"
        entries = "SELECT count(*) FROM usage_entries JOIN jobs ON jobs.id = work_id"
        endings = "SELECT count(*) FROM job_events WHERE kind = 'succeeded'"
        told = ("SELECT count(*) FROM jobs", ended, endings, "SELECT count(*) FROM job_pictures", entries)
        return cls(*(int(str(postgresql.scalar(query, NAMESPACE))) for query in told))

    def beyond(self, before: Books, keys: int) -> int:
        """Rows that came since then beyond one of each kind for each key."""
        kinds = ("jobs", "endings", "pictures", "entries")
        return sum(max(0, getattr(self, kind) - getattr(before, kind) - keys) for kind in kinds)


def seen(cycle: Cycle, release: Release, gateways: Sequence[str], plain: Sequence[Future[tuple[float, str]]]) -> bool:
    """Whether it is time to strike, when it is or all have been answered."""
    moment = False

    def looked() -> bool:
        nonlocal moment
        moment = is_moment(cycle, release, gateways)
        return moment or all(each.done() for each in plain)

    until(looked, f"{cycle.moment}")
    return moment


def is_moment(cycle: Cycle, release: Release, gateways: Sequence[str]) -> bool:
    """Whether it is time to strike."""
    if cycle.moment is Moment.WAKING:
        return any(release.wanted()[name] for name in MODELS)
    return any(map(computes, gateways))


def addresses(release: Release) -> list[str]:
    """Of every gateway: this machine has a route to the cluster's pods."""
    selector = "app.kubernetes.io/component=gateway"
    path = "jsonpath={.items[*].status.podIP}"
    found = release.kubectl("get", "pods", "--selector", selector, "--output", path).split()
    return [f"http://{address}:8000" for address in found]


def computes(gateway: str) -> bool:
    """Whether a request of this gateway holds a slot of text-to-image."""
    return gauge(gateway, "bowerbird_slots_held") > 0


def load(gateway: str) -> int:
    """What this gateway answers, and what it has drawn."""
    return int(gauge(gateway, "bowerbird_requests_in_flight") + gauge(gateway, "bowerbird_slots_held"))


def gauge(gateway: str, name: str) -> float:
    """What a gateway's metrics say; nothing where it does not answer."""
    with suppress(httpx2.TransportError):
        metrics = httpx2.get(f"{gateway}/metrics", timeout=1, trust_env=False).text
        return sum(map(float, re.findall(rf"^{name} (.+)$", metrics, re.MULTILINE)))
    return 0.0


def strike(cycle: Cycle, release: Release, postgresql: RunningPostgreSQL) -> float:
    """Does it; returns when whoever was struck goes on or has been started again, and after how many seconds."""
    began = time.monotonic()
    if cycle.victim is Victim.POSTGRESQL:
        if cycle.way is Way.KILL:
            postgresql.kill()
            postgresql.start()
        else:
            postgresql.pause()
            time.sleep(cycle.stop_seconds)
            postgresql.resume()
        return time.monotonic() - began
    before = pids(cycle, release)
    victims = before[:1]
    assert victims, f"there is nobody to strike: {cycle}"
    if cycle.way is Way.KILL:
        send(victims, signal.SIGKILL)
        with suppress(TimeoutError):  # a pod of a chain that fell asleep meanwhile has no successor
            release.cluster.until(lambda: bool(set(pids(cycle, release)) - set(before)), "another", AWAY_SECONDS)
        return time.monotonic() - began
    send(victims, signal.SIGSTOP)
    try:
        time.sleep(cycle.stop_seconds)
    finally:
        send(victims, signal.SIGCONT)
    return time.monotonic() - began


def pids(cycle: Cycle, release: Release) -> list[int]:
    """Whom it may strike, as this machine counts, the gateway first that has most to do; nobody of another release."""
    if cycle.victim in SUPERVISED:
        machine, service = SUPERVISED[cycle.victim]
        try:
            return [release.cluster.machines[machine].pid_of(service)]
        except LookupError:
            return []
    mark = MARKS.get(cycle.victim) or f"bowerbird.{cycle.model.replace('-', '_')}.service"
    namespace = "keda" if cycle.victim is Victim.KEDA else release.namespace
    pods = release.cluster.read(f"/api/v1/namespaces/{namespace}/pods")["items"]
    found: list[tuple[int, int]] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and any(runs(mark, argument) for argument in command_line(int(entry.name))):
            with suppress(OSError):
                group, pid = (entry / "cgroup").read_text(), int(entry.name)
                found += [(busyness(cycle, pod), pid) for pod in pods if pod["metadata"]["uid"] in group]
    return [pid for _, pid in sorted(found, reverse=True)]


def busyness(cycle: Cycle, pod: Mapping[str, Any]) -> int:
    """What a pod has to do, where it is a gateway."""
    if cycle.victim is not Victim.GATEWAY or "podIP" not in pod["status"]:
        return 0
    return load(f"http://{pod['status']['podIP']}:8000")


def runs(mark: str, argument: str) -> bool:
    """Whether an argument is the module, the service or the program that is looked for."""
    return argument == mark or argument.startswith(f"{mark}:") or Path(argument).name == mark


def send(victims: list[int], number: signal.Signals) -> None:
    """A signal to those who are still there."""
    for pid in victims:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def asleep(release: Release) -> None:
    """Returns when no model has a pod."""
    until(lambda: not any(release.wanted()[name] for name in MODELS), "everybody asleep")
    until(lambda: not any(map(release.pods, MODELS)), "no model pod")


def until(fact: Callable[[], bool], what: str) -> None:
    """As `Cluster.until`, with patience for a cluster that was struck."""
    deadline = time.monotonic() + SETTLED_SECONDS
    while not clusters.holds(fact):
        if time.monotonic() > deadline:
            raise TimeoutError(f"after {SETTLED_SECONDS:.0f} s: not {what}")
        time.sleep(0.1)


def rows_of(seed: int) -> dict[int, Row]:
    """What earlier runs of this seed have written, by the number of its cycle."""
    file = RESULTS / "cycles.json"
    found = json.loads(file.read_text())["figures"] if file.exists() else {}
    rows = found["rows"] if found.get("seed") == seed else []
    return {each["cycle"]["number"]: Row(**each) for each in rows}


def report(seed: int, rows: list[Row]) -> None:
    """Prints the last line of the table, and writes all of it."""
    lost, doubled = sum(len(each.lost) for each in rows), sum(each.doubled for each in rows)
    failed = sum(len(each.failed) for each in rows)
    void = sum(not each.in_flight for each in rows)
    figures = {"seed": seed, "cycles": len(rows), "lost": lost, "doubled": doubled, "failed": failed, "void": void}
    show("Cycles", list(figures), [[str(each) for each in figures.values()]])
    record("cycles", {**figures, "holds": all(each.holds for each in rows), "rows": [asdict(each) for each in rows]})
