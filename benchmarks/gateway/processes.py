"""The gateway and its light stages as processes of their own, and what they have used of the machine.

CPU and memory are those of a whole process tree: a peer's server and its workers are one service.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass

import psutil

from benchmarks.engine.environments import PeerMissing
from benchmarks.engine.server import free_port, running
from benchmarks.gateway.light_stages import Spec

READY_SECONDS = 30.0
STAGES = ("safety", "text-to-image", "animation", "curation")
KEYS = tuple(f"benchmark-key-{number}" for number in range(8))
"""Accepted by the gateway; the first is the flood's, each of the others a quiet tenant's."""


@dataclass(frozen=True, slots=True)
class Service:
    """A running service."""

    url: str
    pid: int

    def cpu_seconds(self) -> float:
        """User and system time of its processes so far."""
        return sum(time.clock_gettime(_cpu_clock(each.pid)) for each in _tree(self.pid))

    def resident_megabytes(self) -> float:
        """Resident memory of its processes, in MB (10**6 bytes)."""
        return sum(each.memory_info().rss for each in _tree(self.pid)) / 1e6


@contextmanager
def service(command: Sequence[str], port: int, environment: Mapping[str, str], ready: str) -> Iterator[Service]:
    """A service that answers at `ready`; raises PeerMissing with its last words when it does not."""
    with running(command, port, environment, ready) as served:
        yield Service(served.url, served.pid)


@contextmanager
def light_stages(spec: Spec) -> Iterator[Service]:
    """All four stages, and a collector for spans, behind one port."""
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.gateway.light_stages", str(port), json.dumps(asdict(spec))]
    with service(command, port, {}, "/safety/readyz") as stages:
        yield stages


@contextmanager
def gateway(stages: Service, *, sampled: bool = False, **settings: str) -> Iterator[Service]:
    """The gateway before these stages, with everything on; settings by their names in settings.py."""
    with ExitStack() as opened:
        home = opened.enter_context(tempfile.TemporaryDirectory(prefix="bowerbird-"))
        port = free_port()
        environment = {
            "BOWERBIRD_HOME": home,
            "BOWERBIRD_PORT": str(port),
            "BOWERBIRD_API_KEYS": json.dumps(KEYS),
            **{f"BOWERBIRD_{name.upper().replace('-', '_')}_URL": f"{stages.url}/{name}" for name in STAGES},
            **tracing(stages, sampled=sampled),
            **{f"BOWERBIRD_{name.upper()}": value for name, value in settings.items()},
        }
        command = [sys.executable, "-m", "bowerbird.gateway.main"]
        gateway_ = opened.enter_context(service(command, port, environment, "/readyz"))
        _wait_for_stages(gateway_)
        yield gateway_


def tracing(stages: Service, *, sampled: bool) -> dict[str, str]:
    """OpenTelemetry's variables for spans that go to the stages' collector: every request's, or none."""
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": stages.url,
        "OTEL_TRACES_SAMPLER": "parentbased_always_on" if sampled else "parentbased_always_off",
    }


def _cpu_clock(pid: int) -> int:
    """The clock of a process' CPU time, its ended threads included, to the nanosecond; as clock_getcpuclockid(3)."""
    return ~pid << 3 | 2


def _tree(pid: int) -> list[psutil.Process]:
    parent = psutil.Process(pid)
    return [parent, *parent.children(recursive=True)]


def _wait_for_stages(gateway_: Service) -> None:
    until = time.monotonic() + READY_SECONDS
    while time.monotonic() < until:
        with urllib.request.urlopen(f"{gateway_.url}/readyz", timeout=5) as answer:  # noqa: S310 - an address of ours
            if all(stage["state"] == "ready" for stage in json.load(answer)["stages"]):
                return
        time.sleep(0.05)
    raise PeerMissing("the gateway did not find its stages ready")
