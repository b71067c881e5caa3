"""Plays a trace against a service: open loop, so a slow service does not slow down who asks.

Every request is due at its time whatever became of those before it, and its latency counts from then: what the
generator itself is late by is in the figures (coordinated omission, Tene, 2013). Who leaves closes the connection.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp

from benchmarks.engine.goodput import Ended, Outcome
from benchmarks.engine.trace import Ask
from bowerbird.contracts import DEADLINE_HEADER, DrawRequest, LoraUse
from bowerbird.errors import DeadlineExceeded
from bowerbird.parts import CONTENT_TYPE, Kind, PartReader

GRACE_SECONDS = 60.0
"""How long after the last deadline answers are waited for; a late picture's lateness is a figure too."""


@dataclass(frozen=True, slots=True)
class Target:
    """A service: its address, how it wants a request, and what the body of its answer 200 means."""

    name: str
    url: str
    body: Callable[[Ask], dict[str, Any]]
    headers: Callable[[Ask], dict[str, str]]
    outcome: Callable[[bytes], Outcome]


def ours(url: str) -> Target:
    """text-to-image, which is told the deadline."""
    return Target("bowerbird", url, _our_body, _our_headers, _outcome_of_parts)


def peer(name: str, url: str) -> Target:
    """A peer; a header about deadlines would mean nothing to it."""
    return Target(name, url, plain_body, lambda _: {}, lambda body: Outcome.DRAWN if body else Outcome.FAILED)


def plain_body(ask: Ask) -> dict[str, Any]:
    """A request as `contenders/sessions.py` reads it."""
    return {
        "prompt": ask.prompt,
        "steps": ask.steps,
        "width": ask.size.width,
        "height": ask.size.height,
        "guidance_scale": ask.guidance_scale,
        "seed": ask.seed,
        "lora": ask.lora,
    }


async def play(target: Target, asks: Sequence[Ask], wrapped: bool = False) -> list[Ended]:
    """All requests' ends, in the trace's order; `wrapped` puts the body into `{"ask": …}` (BentoML's way)."""
    connector, timeout = aiohttp.TCPConnector(limit=0), aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        begin = time.perf_counter()

        async def one(ask: Ask) -> Ended:
            await asyncio.sleep(max(0.0, begin + ask.arrival - time.perf_counter()))
            until = ask.leaves_after if ask.leaves_after is not None else ask.deadline_seconds + GRACE_SECONDS
            left = begin + ask.arrival + until - time.perf_counter()
            try:
                async with asyncio.timeout(max(0.0, left)):
                    outcome = await _asked(session, target, ask, wrapped)
            except TimeoutError:
                outcome = Outcome.FAILED if ask.leaves_after is None else Outcome.LEFT
            return Ended(outcome, time.perf_counter() - begin - ask.arrival, ask.deadline_seconds, ask.tight)

        return list(await asyncio.gather(*(one(ask) for ask in asks)))


async def _asked(session: aiohttp.ClientSession, target: Target, ask: Ask, wrapped: bool) -> Outcome:
    body = {"ask": target.body(ask)} if wrapped else target.body(ask)
    try:
        async with session.post(f"{target.url}/draw", json=body, headers=target.headers(ask)) as answer:
            raw = await answer.read()
            if answer.status in {429, 503}:
                return Outcome.REFUSED
            return target.outcome(raw) if answer.status == 200 else Outcome.FAILED
    except aiohttp.ClientError:
        return Outcome.FAILED


def _our_body(ask: Ask) -> dict[str, Any]:
    lora = [] if ask.lora is None else [LoraUse(id=ask.lora)]
    request = DrawRequest(
        prompt=ask.prompt,
        size=ask.size,
        steps=ask.steps,
        guidance_scale=ask.guidance_scale,
        seed=ask.seed,
        count=1,
        lora=lora,
    )
    body: dict[str, Any] = request.model_dump(mode="json")
    return body


def _our_headers(ask: Ask) -> dict[str, str]:
    return {DEADLINE_HEADER: str(max(1, round(1000 * ask.deadline_seconds))), "accept": CONTENT_TYPE}


def _outcome_of_parts(body: bytes) -> Outcome:
    """A stream's: a whole one has frames and `done`; giving up in time is a refusal, though it came late."""
    reader = PartReader()
    parts = {part.kind: part for part in reader.feed(body)}
    if reader.ended and Kind.FRAMES in parts and Kind.DONE in parts:
        return Outcome.DRAWN
    error = json.loads(parts[Kind.ERROR].body)["error"] if Kind.ERROR in parts else {}
    return Outcome.REFUSED if error.get("code") == DeadlineExceeded.code else Outcome.FAILED
