"""How long answers take at 1 000 requests a second, the client beside the gateway on the same two cores.

Open loop: every request is due at its time, by a Poisson process. First each route by itself, then a mix as a gateway
sees it while pictures are drawn: people look after their jobs, some ask for what there is, ten or fifty a second
submit. What is submitted is drawn: the stages' work and the jobs' whole life come out of the same two cores.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence

from benchmarks.engine.goodput import percentile
from benchmarks.gateway import asked
from benchmarks.gateway.client import Answer, Client, client_of, open_loop, request
from benchmarks.gateway.light_stages import Spec
from benchmarks.gateway.processes import Service, gateway, light_stages
from benchmarks.gateway.scale import Scale
from benchmarks.report import Row

RATE, SMALL_RATE = 1_000.0, 50.0
SUBMITS_PER_SECOND = 50.0
"""Of submits alone: about what two cores can draw with light stages."""
GOAL_SECONDS = 0.010
MIXES = ({"status": 74, "hit": 25, "submit": 1}, {"status": 70, "hit": 25, "submit": 5})
"""In percent."""
STAGES = Spec(slots=64, step_seconds=0.002)

Make = Callable[[int], bytes]


def measure(scale: Scale) -> Iterator[Row]:
    """A line for each route and one for each mix."""
    with light_stages(STAGES) as stages, gateway(stages) as running:
        for name, rate, answers in asyncio.run(_asked(scale, running)):
            yield row(name, rate, answers, GOAL_SECONDS if name.startswith("mix") else None)


def row(name: str, rate: float, answers: Sequence[Answer], goal: float | None) -> Row:
    """Median and 99th percentile; an answer that is no success is counted, and the goal is then missed."""
    seconds = [each.seconds for each in answers]
    failed = sum(not 200 <= each.status < 400 for each in answers)
    p50, p99 = percentile(seconds, 50), percentile(seconds, 99)
    return Row(
        "latency",
        name,
        f"{rate:g} requests/s",
        "" if goal is None else f"p99 < {1e3 * goal:.0f} ms",
        f"p50 {1e3 * p50:.1f} ms, p99 {1e3 * p99:.1f} ms",
        None if goal is None else p99 < goal and not failed,
        note=f"{len(answers)} requests" + (f", {failed} failed" if failed else ""),
        details={"p50_ms": 1e3 * p50, "p99_ms": 1e3 * p99, "failed": failed},
    )


async def _asked(scale: Scale, running: Service) -> list[tuple[str, float, list[Answer]]]:
    rate = SMALL_RATE if scale.small else RATE
    seconds = scale.load_seconds if scale.small else scale.load_seconds / 3
    measured = []
    async with client_of(running.url) as client:
        makes = await _routes(client)
        for name, make in makes.items():
            of_route = min(rate, SUBMITS_PER_SECOND) if name == "submit" else rate
            measured.append((name, of_route, await open_loop(client, make, of_route, seconds)))
        for mix in MIXES:
            measured.append((_named(mix), rate, await open_loop(client, _mixed(mix, makes), rate, scale.load_seconds)))
    return measured


def _named(mix: Mapping[str, int]) -> str:
    return "mix: " + ", ".join(f"{percent} % {name}" for name, percent in mix.items())


def _mixed(mix: Mapping[str, int], makes: Mapping[str, Make]) -> Make:
    slots = [name for name, percent in mix.items() for _ in range(percent)]
    return lambda number: makes[slots[number * 37 % len(slots)]](number)  # 37: spread evenly


async def _routes(client: Client) -> dict[str, Make]:
    job_id = await asked.submitted(client)
    tag = (await asked.stored(client))["etag"]
    models = request("GET", "/v1/models", headers=asked.with_key())
    return {
        "livez": lambda _: request("GET", "/livez"),
        "models": lambda _: models,
        "status": lambda _: asked.status(job_id),
        "hit": lambda _: asked.picture(asked.SEED),
        "hit, 304": lambda _: asked.picture(asked.SEED, headers={"If-None-Match": tag}),
        "submit": asked.submit,
    }
