"""What a request costs the gateway: user and system time of its process over many requests, by route.

Two gateways take turns, one whose spans are all sampled and exported and one where none is: both with keys, quotas,
metrics and a log line for each request. `picture` is the whole chain: check_prompt, admit, draw (one progress part for
each of 20 steps), judge and check_images, publish; pixels of 256 x 256 twice up and once down, a picture of 110 kB out.
`submit` is a job in the database, at saturation: nothing is drawn meanwhile.

The first line is a measure of the machine: a route of Starlette alone, in the same run. The goals were set where it
takes 25 µs; every other line says how many of it a request takes.
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.engine.server import free_port
from benchmarks.gateway import asked
from benchmarks.gateway.client import Client, client_of, closed_loop, request
from benchmarks.gateway.light_stages import Spec
from benchmarks.gateway.processes import Service, gateway, light_stages, service
from benchmarks.gateway.scale import Scale
from benchmarks.report import Row

CONTENDERS = Path(__file__).parent / "contenders"
CALLERS = 32
STEP_SECONDS = 0.005
NEVER = Spec(slots=1, step_seconds=3_600.0)
"""Stages that do not finish anything while somebody looks."""


@dataclass(frozen=True, slots=True)
class Route:
    """One of the hot routes; goals in CPU microseconds, unsampled and sampled."""

    name: str
    make: Callable[[int], bytes]
    expected_status: int
    goals: tuple[float, float | None]
    part_of_requests: float = 1.0


def measure(scale: Scale) -> Iterator[Row]:
    """The machine, two lines for each route, one for the submit."""
    plain_route = _plain_route(scale)
    yield row("a route of Starlette alone", "no telemetry", plain_route, None)
    unit = statistics.median(plain_route)
    with light_stages(Spec(slots=CALLERS, step_seconds=STEP_SECONDS)) as stages, ExitStack() as opened:
        tracings = ("unsampled",) if scale.small else ("unsampled", "sampled")
        gateways = {each: opened.enter_context(gateway(stages, sampled=each == "sampled")) for each in tracings}
        spent = asyncio.run(_routes(scale, gateways))
    for route, by_tracing in spent:
        for (tracing, rounds), goal in zip(by_tracing.items(), route.goals, strict=False):
            yield row(route.name, f"tracing {tracing}", rounds, goal, unit)
    with light_stages(NEVER) as stages, gateway(stages) as plain:
        rounds = asyncio.run(_submits(scale, plain))
    yield row("durable submit, saturated", "tracing unsampled", rounds, 250.0, unit)


def row(name: str, how: str, rounds: list[float], goal: float | None, unit: float | None = None) -> Row:
    """The median of rounds against the goal, and in plain routes of this machine (`unit`)."""
    microseconds = statistics.median(rounds)
    of_it = f"{microseconds / unit:.1f} plain routes; " if unit else ""
    return Row(
        "cost",
        name,
        how,
        "" if goal is None else f"<= {goal:.0f} µs CPU",
        f"{microseconds:.0f} µs",
        None if goal is None else microseconds <= goal,
        note=f"{of_it}{min(rounds):.0f} to {max(rounds):.0f} in {len(rounds)} rounds",
        details={"rounds_us": rounds},
    )


def _plain_route(scale: Scale) -> list[float]:
    port = free_port()
    command = [sys.executable, str(CONTENDERS / "starlette_plain.py"), str(port)]
    route = Route("plain", lambda _: request("GET", "/plain"), 200, (0.0, None))

    async def asked_again_and_again(running: Service) -> list[float]:
        async with client_of(running.url) as client:
            return [await one_round(scale, running, client, route) for _ in range(scale.rounds + 1)][not scale.small :]

    with service(command, port, {}, "/plain") as running:
        return asyncio.run(asked_again_and_again(running))


async def _routes(scale: Scale, gateways: Mapping[str, Service]) -> list[tuple[Route, dict[str, list[float]]]]:
    """CPU microseconds a request of each round, by route and tracing; the gateways take turns."""
    spent: list[tuple[Route, dict[str, list[float]]]] = []
    for number in range(4):
        by_tracing: dict[str, list[float]] = {tracing: [] for tracing in gateways}
        for turn in range(scale.rounds + 1):
            for tracing, running in gateways.items():
                async with client_of(running.url) as client:
                    route = (await _hot(client))[number]
                    microseconds = await one_round(scale, running, client, route)
                if turn or scale.small:  # the first one warms up
                    by_tracing[tracing].append(microseconds)
        spent.append((route, by_tracing))
    return spent


async def _hot(client: Client) -> list[Route]:
    job_id = await asked.submitted(client)
    tag = (await asked.stored(client))["etag"]
    seeds = itertools.count(1_000)
    return [
        Route("status of a job", lambda _: asked.status(job_id), 200, (150.0, None)),
        Route("hit of 110 kB", lambda _: asked.picture(asked.SEED), 200, (150.0, None)),
        Route("hit, 304", lambda _: asked.picture(asked.SEED, headers={"If-None-Match": tag}), 304, (150.0, None)),
        Route("picture, all hops", lambda _: asked.picture(next(seeds), cache="fresh"), 200, (1_000.0, 2_000.0), 0.1),
    ]


async def one_round(scale: Scale, running: Service, client: Client, route: Route) -> float:
    """CPU microseconds a request, over one round."""
    count = max(CALLERS, int(scale.requests * route.part_of_requests)) if not scale.small else scale.requests
    before = running.cpu_seconds()
    answers = await closed_loop(client, (route.make(number) for number in range(count)), CALLERS)
    spent = running.cpu_seconds() - before
    if wrong := {each.status for each in answers} - {route.expected_status}:
        raise RuntimeError(f"{route.name}: the gateway answered {sorted(wrong)}")
    return spent / count * 1e6


async def _submits(scale: Scale, running: Service) -> list[float]:
    """Tenants in turn: the backlog of each is bounded."""
    route = Route("durable submit", asked.submit, 202, (250.0, None))
    async with client_of(running.url) as client:
        return [await one_round(scale, running, client, route) for _ in range(scale.rounds + 1)][not scale.small :]
