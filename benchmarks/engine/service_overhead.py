"""C5: what the service costs: text-to-image behind HTTP against the bare engine in a loop, the same bundle and backend.

Saturated: as many clients as slots, each asking again when it has its picture, against a process that draws one picture
after the other and does nothing else. Guided, so that both fill the cores. Alone: the cheapest picture there is (one
step), one at a time, so that what the service adds is not lost in what the model takes; the median of our client's
latency less the median of the bare engine's, in turns.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Iterator
from typing import Any

import aiohttp

from benchmarks.engine.contender import Contender, take_turns
from benchmarks.engine.environments import prepared
from benchmarks.engine.scale import Scale
from benchmarks.engine.server import text_to_image
from benchmarks.report import Row
from bowerbird.engine.bundle import Bundle

PROMPT = "a blue jay in spring"
LONE_PICTURES = 40


def measure(scale: Scale) -> Iterator[Row]:
    """C5."""
    facts = Bundle.open(scale.bundle).drawing
    cache = str(prepared())
    many = {"prompt": PROMPT, "steps": min(facts.default_steps, facts.max_steps), "guidance_scale": 2.5, "seed": 1}
    one = {**many, "steps": 1, "guidance_scale": 1}
    spec = {"bundle": str(scale.bundle), "backend": "cpu", "cache": cache}
    size = facts.sizes[0].model_dump()
    with (
        text_to_image(scale.bundle, cache=cache, slots="4") as url,
        Contender("bare", "bowerbird_picture.py", spec) as bare,
    ):
        rates = take_turns(
            {
                "service": lambda: asyncio.run(_saturated(url, many | {"size": size}, scale.pictures)),
                "bare": lambda: 1 / bare.ask(**many, pictures=scale.pictures)["seconds"],
            },
            1 if scale.small else scale.rounds,
        )
        lone = take_turns(
            {
                "service": lambda: asyncio.run(_lone(url, one | {"size": size})),
                "bare": lambda: bare.ask(**one)["seconds"],
            },
            3 if scale.small else LONE_PICTURES,
        )
    ratio, added = rates["service"] / rates["bare"], lone["service"] - lone["bare"]
    what, by = "throughput of the service, saturated", "`cpu` against the bare engine loop"
    figure = f"{100 * ratio:.1f} % ({rates['service']:.2f} against {rates['bare']:.2f} images/s)"
    yield Row("C5", what, by, ">= 97 %", figure, ratio >= 0.97, note=f"4 clients; median of {scale.rounds}")
    figure = f"{1e3 * added:.1f} ms ({1e3 * lone['service']:.1f} against {1e3 * lone['bare']:.1f} ms)"
    what = "what the service adds to a lone picture of one step, median"
    yield Row("C5", what, by, "<= 2 ms", figure, added <= 0.002, note=f"{LONE_PICTURES} in turns")


async def _saturated(url: str, request: dict[str, Any], pictures: int) -> float:
    """Pictures per second by four clients that ask again at once."""
    waiting = list(range(2 * pictures))
    async with aiohttp.ClientSession() as session:

        async def client() -> None:
            while waiting:
                await _draw(session, url, request | {"seed": waiting.pop()})

        begin = time.perf_counter()
        await asyncio.gather(*(client() for _ in range(4)))
        return 2 * pictures / (time.perf_counter() - begin)


async def _lone(url: str, request: dict[str, Any]) -> float:
    """Seconds of one picture on a connection that is already open."""
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{url}/livez"):
            pass
        return statistics.median([await _draw(session, url, request) for _ in range(1)])


async def _draw(session: aiohttp.ClientSession, url: str, request: dict[str, Any]) -> float:
    begin = time.perf_counter()
    body = {"negative_prompt": None, "count": 1, **request}
    async with session.post(f"{url}/draw", json=body) as answer:
        raw = await answer.read()
        if answer.status != 200 or b"Bowerbird-Part: done" not in raw:
            raise RuntimeError(f"the service answered {answer.status}, and no picture")
    return time.perf_counter() - begin
