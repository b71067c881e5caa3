"""Steps that are computed for nobody after a cancel, through every hop of the real stack (`bowerbird up`).

A picture of as many steps as the model takes is begun and given up in the middle: the client hangs up, or a job is
DELETEd. The engine counts the steps it computes; what it counts between the cancel and the end of all computing is what
was wasted. The step under way when the engine hears of it is interrupted and not counted; one that ends while the
cancel is on its way is. A job is cancelled when the DELETE is answered, which is when that stands in the database; what
was computed since the DELETE was sent stands beside it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator

from benchmarks.gateway.asked import GENERATIONS, PROMPT
from benchmarks.gateway.client import Client, client_of, request
from benchmarks.gateway.scale import Scale
from benchmarks.report import Row
from benchmarks.stack import stack

CANCELS = 20
BEGUN_STEPS = 3
QUIET_SECONDS = 0.5
"""Many times a step: the engine has then stopped."""
POLL_SECONDS = 0.005
BEGIN_LOOKS = 12_000

Counts = tuple[int, int, int]
"""The engine's steps when a cancel was sent, when it was answered, and when nothing was computed any more."""

_STEPS = re.compile(r"^bowerbird_steps_total(?:\{[^}]*\})? ([0-9.e+]+)$", re.MULTILINE)


def measure(scale: Scale) -> Iterator[Row]:
    """A line for the hang-up, one for the DELETE."""
    count = 1 if scale.small else CANCELS
    with stack() as facts:
        counted = asyncio.run(_both(facts["url"], facts["services"]["text-to-image"]["url"], count))
    since = {how: [end - sent for sent, _, end in times] for how, times in counted.items()}
    for how, times in counted.items():
        steps = [end - done for _, done, end in times]
        yield Row(
            "cancel",
            f"steps computed after {how}, at most",
            "the real stack",
            "<= 1",
            str(max(steps)),
            max(steps) <= 1,
            note=f"{count} times, in all {sum(steps)}; most since {how.removeprefix('a ')} was sent: {max(since[how])}",
            details={"steps": steps},
        )


async def _both(url: str, text_to_image: str, count: int) -> dict[str, list[Counts]]:
    async with client_of(url) as client, client_of(text_to_image) as engine:
        steps = (await client.ask(request("GET", "/v1/models"))).json()["data"][0]["bowerbird"]["max_steps"]
        body = {"prompt": PROMPT, "steps": steps, "cache": "fresh"}
        return {
            "a hang-up": [await _hang_up(client, engine, body) for _ in range(count)],
            "a DELETE": [await _delete(client, engine, body) for _ in range(count)],
        }


async def _hang_up(client: Client, engine: Client, body: dict[str, object]) -> Counts:
    before = await _steps(engine)
    connection = await client.connect()
    answer = connection.send(request("POST", GENERATIONS, body))
    answer.add_done_callback(lambda done: done.exception())
    sent = await _begun(engine, before)
    connection.close()
    return sent, sent, await _when_quiet(engine)


async def _delete(client: Client, engine: Client, body: dict[str, object]) -> Counts:
    before = await _steps(engine)
    job = (await client.ask(request("POST", GENERATIONS, body, {"Prefer": "respond-async"}))).json()["id"]
    sent = await _begun(engine, before)
    answer = await client.ask(request("DELETE", f"/v1/jobs/{job}"))
    if answer.status != 200:
        raise RuntimeError(f"the job was not cancelled: {answer.status}")
    return sent, await _steps(engine), await _when_quiet(engine)


async def _begun(engine: Client, before: int) -> int:
    """The engine's count as soon as the drawing is a few steps along."""
    for _ in range(BEGIN_LOOKS):
        if (counted := await _steps(engine)) >= before + BEGUN_STEPS:
            return counted
        await asyncio.sleep(POLL_SECONDS)
    raise RuntimeError("the drawing did not begin")


async def _when_quiet(engine: Client) -> int:
    """The engine's count when it has not changed for a while."""
    counted = await _steps(engine)
    while True:
        await asyncio.sleep(QUIET_SECONDS)
        now = await _steps(engine)
        if now == counted:
            return counted
        counted = now


async def _steps(engine: Client) -> int:
    answer = await engine.ask(request("GET", "/metrics"))
    found = _STEPS.search(answer.body.decode())
    return int(float(found.group(1))) if found else 0
