"""The same plain route under BentoML and LitServe, and as a route of ours: CPU microseconds a request.

Plain: a JSON body with three fields in, JSON with four out, no work between. Each is served as its makers serve it, one
worker, uvloop and httptools installed for all: BentoML with a pydantic model in and out, and as its documentation has
it, with the fields as parameters and a dict out; LitServe with its API server and one worker process. Without telemetry
every log line, metric and span is off. With it each request has a sampled span that is exported, a histogram of seconds
and a line in a log: BentoML's own, OpenTelemetry's middleware and a few lines for LitServe, the gateway's layers for
ours. All take turns in one run.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

from benchmarks.engine.environments import python_of
from benchmarks.engine.server import free_port
from benchmarks.gateway.client import client_of, closed_loop, request
from benchmarks.gateway.cost import CALLERS
from benchmarks.gateway.light_stages import Spec
from benchmarks.gateway.processes import Service, light_stages, service, tracing
from benchmarks.gateway.scale import Scale
from benchmarks.report import Row

CONTENDERS = Path(__file__).parent / "contenders"
OURS = "a route of ours"
BENTOML, BENTOML_FIELDS, LITSERVE = "BentoML, pydantic", "BentoML, fields and dict", "LitServe"
GOALS = {False: 10.0, True: 3.0}
"""Times as much CPU as ours, without telemetry and with it."""
ASKED = request("POST", "/plain", {"prompt": "an american robin in winter", "steps": 20, "seed": 7})


def measure(scale: Scale) -> Iterator[Row]:
    """A line for each peer, without telemetry and with it."""
    with light_stages(Spec()) as collector:
        for telemetry, goal in GOALS.items():
            environment = {"PLAIN_TELEMETRY": str(int(telemetry)), **tracing(collector, sampled=telemetry)}
            with ExitStack() as opened:
                services = {
                    name: opened.enter_context(service([*command, str(port)], port, environment, ready))
                    for name, (command, ready) in _commands().items()
                    for port in (free_port(),)
                }
                rounds = asyncio.run(_turns(scale, services))
            yield from _rows(rounds, telemetry, goal)


def _rows(rounds: Mapping[str, list[float]], telemetry: bool, goal: float) -> Iterator[Row]:
    ours = statistics.median(rounds[OURS])
    how = "telemetry on for all" if telemetry else "telemetry off for all"
    for peer, spent in rounds.items():
        if peer != OURS:
            theirs = statistics.median(spent)
            yield Row(
                "peers",
                f"CPU of a plain route, {how}",
                peer,
                f">= {goal:g}x ours",
                f"{theirs / ours:.1f}x ({theirs:.0f} against {ours:.0f} µs)",
                theirs / ours >= goal,
                note=f"median of {len(spent)} in turns",
                details={"theirs_us": spent, "ours_us": rounds[OURS]},
            )


def _commands() -> dict[str, tuple[list[str], str]]:
    """Name -> the command without its port, and a path that answers when it is ready."""
    bentoml, litserve = python_of("bentoml", CONTENDERS), python_of("litserve", CONTENDERS)
    return {
        OURS: ([sys.executable, str(CONTENDERS / "bowerbird_plain.py")], "/livez"),
        BENTOML: ([str(bentoml), str(CONTENDERS / "bentoml_plain.py"), "Plain"], "/readyz"),
        BENTOML_FIELDS: ([str(bentoml), str(CONTENDERS / "bentoml_plain.py"), "PlainFields"], "/readyz"),
        LITSERVE: ([str(litserve), str(CONTENDERS / "litserve_plain.py")], "/health"),
    }


async def _turns(scale: Scale, services: Mapping[str, Service]) -> dict[str, list[float]]:
    """CPU microseconds a request of every round but the first, by contender."""
    rounds: dict[str, list[float]] = {name: [] for name in services}
    for turn in range(scale.rounds + 1):
        for name, running in services.items():
            async with client_of(running.url) as client:
                before = running.cpu_seconds()
                answers = await closed_loop(client, [ASKED] * scale.requests, CALLERS)
                spent = running.cpu_seconds() - before
            if wrong := {each.status for each in answers} - {200}:
                raise RuntimeError(f"{name} answered {sorted(wrong)}")
            if turn:
                rounds[name].append(spent / scale.requests * 1e6)
    return rounds
