"""One tenant floods, the others do not: what becomes of them, of the goodput, and of what was told.

Stages with known slots and service time, so that the capacity is known; the queue, its order and its bounds are the
gateway's. Four quiet tenants ask for a tenth of the capacity each at every load, the flooding one for the rest of it.
Everyone has the same deadline. Loads are played one after the other, with pictures of 10 to 30 steps and with pictures
of one size. The latter is the harder case: slots that were filled together come free together, again and again, and
whoever comes between waits for all of them.
"""

from __future__ import annotations

import asyncio
import json
import random
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.engine.goodput import percentile
from benchmarks.gateway import asked
from benchmarks.gateway.client import Answer, Client, client_of, open_loop, request
from benchmarks.gateway.light_stages import STEPS, Spec
from benchmarks.gateway.processes import Service, gateway, light_stages
from benchmarks.gateway.scale import Scale
from benchmarks.report import Row

STAGES = Spec(slots=16, step_seconds=0.02)
DEADLINE_SECONDS = 4.0
"""Ten times what a picture takes."""
LOADS = (0.5, 1.0, 2.0)
SIZES = {"10 to 30 steps": (STEPS // 2, STEPS, STEPS * 3 // 2), "one size": (STEPS,)}
"""Steps of the pictures that are asked for, in turn."""
QUIET_TENANTS, QUIET_LOAD = 4, 0.4
GOAL_QUIET, GOAL_GOODPUT = 1.5, 0.9
FLOOD = "flood"

ETA_STAGES = Spec(slots=2, step_seconds=0.05)
ETA_JOBS = 60
"""What one gateway has in hand at a time."""
LOOK_SECONDS = 0.5
SHORTEST_WAIT_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Played:
    """What became of one load."""

    load: float
    quiet_p99: float
    goodput: float
    """Pictures within their deadline, a second."""
    refused: int
    failed: int


def measure(scale: Scale) -> Iterator[Row]:
    """A line for each load, one for the goodput, one for the quiet tenants; of each of SIZES."""
    with light_stages(STAGES) as stages, gateway(stages) as running:
        for size, steps in SIZES.items():
            yield from _rows(size, [play(scale, running, load, steps) for load in LOADS])


def _rows(size: str, played: Sequence[Played]) -> Iterator[Row]:
    for each in played:
        yield Row(
            "fairness",
            f"load {each.load:.0%} of {STAGES.pictures_per_second:.0f} pictures/s, one tenant floods",
            size,
            "",
            f"{each.goodput:.1f} pictures/s in time, quiet p99 {1e3 * each.quiet_p99:.0f} ms",
            note=f"{each.refused} refused or given up in time, {each.failed} failed",
        )
    low, full, over = played
    grown = over.quiet_p99 / low.quiet_p99
    what = "quiet tenants' p99 at 200 % against that at 50 %"
    yield Row("fairness", what, size, f"<= {GOAL_QUIET}x", f"{grown:.2f}x", grown <= GOAL_QUIET)
    kept = over.goodput / full.goodput
    what = "goodput within the deadline at 200 % against that at 100 %"
    yield Row("fairness", what, size, f">= {GOAL_GOODPUT:.0%}", f"{kept:.0%}", kept >= GOAL_GOODPUT)


def play(scale: Scale, running: Service, load: float, steps: Sequence[int]) -> Played:
    """One load for `load_seconds`, to the last answer; a tenth of it, in which the slots fill, does not count.

    Goodput is what arrived in time while the load lasted: what is drawn when it is over is no proof of anything.
    """
    seconds = scale.load_seconds
    answers, who = asyncio.run(_play(running, seconds, load, steps))
    first = min(answer.due for answer in answers)
    begin, end = first + 0.1 * seconds, first + seconds
    counted = [(answer, tenant) for answer, tenant in zip(answers, who, strict=True) if answer.due >= begin]
    in_time = [
        answer
        for answer in answers
        if answer.status == 200 and answer.seconds <= DEADLINE_SECONDS and begin <= answer.due + answer.seconds <= end
    ]
    quiet = [_counted(answer) for answer, tenant in counted if tenant != FLOOD]
    refusals = (429, 503, 504, 408)
    return Played(
        load,
        percentile(quiet, 99),
        len(in_time) / (0.9 * seconds),
        sum(answer.status in refusals for answer, _ in counted),
        sum(answer.status not in (200, *refusals) for answer, _ in counted),
    )


def _counted(answer: Answer) -> float:
    """Who got nothing waited for the whole deadline at least: else refusing the slow half would look fast."""
    return answer.seconds if answer.status == 200 else max(answer.seconds, DEADLINE_SECONDS)


async def _play(running: Service, seconds: float, load: float, steps: Sequence[int]) -> tuple[list[Answer], list[str]]:
    """Every answer and its tenant, in the order in which they were asked."""
    rate = load * STAGES.pictures_per_second * STEPS / statistics.mean(steps)
    dice = random.Random(2)  # noqa: S311 - whose turn it is, not secrets
    who: list[str] = []

    def make(number: int) -> bytes:
        quiet = dice.random() < QUIET_LOAD / load
        tenant = 1 + dice.randrange(QUIET_TENANTS) if quiet else 0
        who.append(f"quiet {tenant}" if quiet else FLOOD)
        deadline = {"Bowerbird-Deadline-Ms": str(int(1e3 * DEADLINE_SECONDS))}
        return asked.picture(number, tenant, deadline, cache="fresh", steps=steps[number % len(steps)])

    async with client_of(running.url) as client:
        answers = await open_loop(client, make, rate, seconds)
    return answers, who


def told(scale: Scale) -> Iterator[Row]:
    """How far the told ETA was from the wait that came."""
    with light_stages(ETA_STAGES) as stages, gateway(stages) as running:
        told_ = _told(running, 8, 0.0) if scale.small else _told(running, ETA_JOBS, SHORTEST_WAIT_SECONDS)
        errors, waits = asyncio.run(told_)
    figure = f"{statistics.median(errors):.0%}" if errors else None
    waited = f"waits of {min(waits):.1f} to {max(waits):.1f} s" if waits else "nobody waited"
    yield Row(
        "eta",
        "median error of the first ETA told, of jobs that waited longer than a second",
        "gateway",
        "",
        figure,
        note=f"{len(errors)} jobs of three tenants at once, 10 to 30 steps, {waited}",
    )


async def _told(running: Service, count: int, shortest: float) -> tuple[list[float], list[float]]:
    """Relative errors of the first ETA that each job was told, and the waits that came after it."""
    async with client_of(running.url) as client:
        jobs = await asyncio.gather(*(_submitted(client, number) for number in range(count)))
        first = await _first_etas(client, jobs)
        granted = {job: await _granted_at(client, job, tenant) for job, tenant in jobs}
    errors, waits = [], []
    for job, (at, eta) in first.items():
        wait = granted[job] - at
        if wait > shortest:
            errors.append(abs(eta - wait) / wait)
            waits.append(wait)
    return errors, waits


async def _submitted(client: Client, number: int) -> tuple[str, int]:
    tenant, steps = number % 3, (STEPS // 2, STEPS, STEPS * 3 // 2)[number % 7 % 3]
    answer = await client.ask(asked.picture(tenant=tenant, headers={"Prefer": "respond-async"}, steps=steps))
    return str(answer.json()["id"]), tenant


async def _first_etas(client: Client, jobs: Sequence[tuple[str, int]]) -> dict[str, tuple[float, float]]:
    """Job -> (Unix seconds, ETA) of the first look that showed one; looks until all have begun or ended."""
    first: dict[str, tuple[float, float]] = {}
    waiting = list(jobs)
    while waiting:
        still = []
        for job, tenant in waiting:
            body = (await client.ask(asked.status(job, tenant))).json()
            if body["eta_seconds"] is not None and job not in first:
                first[job] = (time.time(), body["eta_seconds"])
            if body["status"] in ("queued", "running"):
                still.append((job, tenant))
        waiting = still
        await asyncio.sleep(LOOK_SECONDS)
    return first


async def _granted_at(client: Client, job: str, tenant: int) -> float:
    """Unix seconds at which a finished job began to be drawn, as its events say."""
    answer = await client.ask(request("GET", f"/v1/jobs/{job}/events", headers=asked.with_key(tenant)))
    lines = answer.body.decode().splitlines()
    events = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
    return next(float(event["at"]) for event in events if event.get("phase") == "draw")
