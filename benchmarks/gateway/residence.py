"""Memory that the gateway takes: for streams that say nothing, and over a million requests.

Each stream is another job's `/events`; none of the jobs is ever drawn, so that all of them wait and hear heartbeats.
The requests are what a gateway sees, also at its worst: status, hits, new seeds, paths and keys that do not exist.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator

from benchmarks.gateway import asked
from benchmarks.gateway.client import Client, Connection, client_of, closed_loop, request
from benchmarks.gateway.cost import CALLERS, NEVER
from benchmarks.gateway.light_stages import Spec
from benchmarks.gateway.processes import KEYS, Service, gateway, light_stages
from benchmarks.gateway.scale import Scale
from benchmarks.report import Row

STREAMS_GOAL_MB = 200.0
FLAT_MB = 10.0
"""What may be added after the first tenth of the requests."""
SETTLE_SECONDS = 12.0
"""A heartbeat for every stream."""
DRAWN_PERCENT = 1
HEARD_LOOKS = 600
"""A tenth of a second apart."""


def streams(scale: Scale) -> Iterator[Row]:
    """What idle streams add."""
    with light_stages(NEVER) as stages, gateway(stages) as running:
        before, after, cpu = asyncio.run(_listening(scale, running))
    added = after - before
    yield Row(
        "streams",
        f"{scale.streams} idle SSE streams of as many jobs",
        "resident memory added",
        f"<= {STREAMS_GOAL_MB:.0f} MB",
        f"{added:.0f} MB",
        added <= STREAMS_GOAL_MB,
        note=f"{before:.0f} to {after:.0f} MB; {1e2 * cpu:.1f} % of a core while nothing happens",
    )


async def _listening(scale: Scale, running: Service) -> tuple[float, float, float]:
    """MB without and with the streams, and CPU seconds a second while they are idle."""
    settle = 1.0 if scale.small else SETTLE_SECONDS
    async with client_of(running.url) as client:
        jobs = await _jobs(client, scale.streams)
        await asyncio.sleep(settle)
        before = running.resident_megabytes()
        listening = [await _listen(client, job, number) for number, job in enumerate(jobs)]
        await _all_have_heard(listening)
        cpu = running.cpu_seconds()
        await asyncio.sleep(settle)
        idle = (running.cpu_seconds() - cpu) / settle
        after = running.resident_megabytes()
        if closed := sum(not each.open for each in listening):
            raise RuntimeError(f"{closed} streams ended")
        for each in listening:
            each.close()
    return before, after, idle


async def _jobs(client: Client, count: int) -> list[str]:
    """Ids of so many jobs, of every tenant in turn."""
    numbers = iter(range(count))
    found: dict[int, str] = {}

    async def caller() -> None:
        for number in numbers:
            found[number] = await asked.submitted(client, number)

    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    return [found[number] for number in range(count)]


async def _listen(client: Client, job_id: str, tenant: int) -> Connection:
    connection = await client.connect()
    answer = connection.send(request("GET", f"/v1/jobs/{job_id}/events", headers=asked.with_key(tenant)))
    answer.add_done_callback(lambda done: done.exception())  # seen: it is we who hang up in the end
    return connection


async def _all_have_heard(listening: list[Connection]) -> None:
    """Until each has its job's first event."""
    for _ in range(HEARD_LOOKS):
        if all(b"event:" in each.received for each in listening):
            return
        await asyncio.sleep(0.1)
    raise RuntimeError("not every stream has said something")


def memory(scale: Scale) -> Iterator[Row]:
    """Resident memory at powers of ten of the requests, to the most of them."""
    with light_stages(Spec(slots=CALLERS)) as stages, gateway(stages) as running:
        resident = asyncio.run(_growing(scale.most_requests, running))
    counts = sorted(resident)
    growth = resident[counts[-1]] - resident[counts[-2]]
    figures = ", ".join(f"{resident[count]:.0f} MB at {count}" for count in counts)
    yield Row(
        "memory",
        f"resident after {counts[-1]} requests",
        "gateway",
        f"<= {FLAT_MB:.0f} MB more than at {counts[-2]}",
        f"{growth:+.1f} MB",
        growth <= FLAT_MB,
        note=figures,
        details={str(count): resident[count] for count in counts},
    )


async def _growing(most: int, running: Service) -> dict[int, float]:
    resident, done = {}, 0
    async with client_of(running.url) as client:
        await asked.stored(client)
        job_id = await asked.submitted(client)
        requests = map(_kind, itertools.count(), itertools.repeat(job_id))
        for count in (most // 100, most // 10, most):
            await closed_loop(client, itertools.islice(requests, count - done), CALLERS)
            done = count
            resident[count] = running.resident_megabytes()
    return resident


def _kind(number: int, job_id: str) -> bytes:
    """One of many kinds of request, the drawn ones with a prompt that nobody else has."""
    if number % 100 < DRAWN_PERCENT:
        return asked.picture(number, prompt=f"bird number {number}")
    kinds = (
        lambda: asked.status(job_id),
        lambda: asked.picture(asked.SEED),
        lambda: request("GET", f"/no/such/path/{number}", headers=asked.with_key(number)),
        lambda: request("GET", "/v1/models", headers={"Authorization": f"Bearer {KEYS[0]}-{number}"}),
    )
    return kinds[number % len(kinds)]()
