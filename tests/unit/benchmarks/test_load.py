from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from benchmarks.engine.goodput import Outcome
from benchmarks.engine.load import ours, peer, play
from benchmarks.engine.trace import Ask
from bowerbird.contracts import DrawDone, FrameFacts, Size
from bowerbird.parts import END_OF_STREAM, Kind, error_part, part

SIZE = Size(width=16, height=16)
DONE = DrawDone(model="m", digest="sha256:" + "0" * 64, seeds=[1], seconds={}, steps_computed=1)
WHOLE = part(Kind.FRAMES, b"pixels", FrameFacts(index=0, seed=1)) + part(Kind.DONE, DONE) + END_OF_STREAM


def ask(arrival: float = 0.0, steps: int = 1, leaves_after: float | None = None) -> Ask:
    return Ask(arrival, "a bird", SIZE, steps, 1.0, 1, None, 5.0, False, leaves_after)


@pytest.fixture
async def url() -> AsyncIterator[str]:
    """A service that answers one at a time, by the number of steps: 1 a picture, 2 too late, 3 full, 4 cut off."""
    one_at_a_time = asyncio.Lock()
    bodies = {
        1: web.Response(body=WHOLE),
        2: web.Response(body=error_part({"error": {"code": "deadline_exceeded"}}) + END_OF_STREAM),
        3: web.Response(status=429),
        4: web.Response(body=WHOLE[:-20]),
    }

    async def draw(request: web.Request) -> web.Response:
        steps = (await request.json())["steps"]
        async with one_at_a_time:
            await asyncio.sleep(0.1)
        answer = bodies[steps]
        return web.Response(body=answer.body, status=answer.status)

    app = web.Application()
    app.router.add_post("/draw", draw)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def test_an_answer_counts_by_what_it_is(url: str) -> None:
    ends = await play(ours(url), [ask(steps=steps) for steps in (1, 2, 3, 4)])
    assert [each.outcome for each in ends] == [Outcome.DRAWN, Outcome.REFUSED, Outcome.REFUSED, Outcome.FAILED]


async def test_who_waits_behind_others_is_late_from_when_it_was_due(url: str) -> None:
    ends = await play(peer("one", url), [ask() for _ in range(5)])
    assert max(each.seconds for each in ends) >= 0.5


async def test_requests_are_sent_whatever_became_of_those_before(url: str) -> None:
    first, second = await play(peer("one", url), [ask(), ask(arrival=0.05)])
    assert second.seconds >= first.seconds + 0.04


async def test_who_leaves_is_not_waited_for(url: str) -> None:
    left, stayed = await play(peer("one", url), [ask(leaves_after=0.02), ask(arrival=0.01)])
    assert (left.outcome, stayed.outcome) == (Outcome.LEFT, Outcome.DRAWN)
    assert left.seconds < stayed.seconds


async def test_a_service_that_is_not_there_fails_and_does_not_stop_the_trace() -> None:
    ends = await play(peer("nobody", "http://127.0.0.1:9"), [ask(), ask()])
    assert [each.outcome for each in ends] == [Outcome.FAILED] * 2
