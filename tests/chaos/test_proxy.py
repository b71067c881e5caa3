"""The proxy does to answers what its troubles say, and nothing else."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from bowerbird.embedded.ports import free_ports

from .proxy import LONGEST_CUT, Link, Trouble, serve

BODY = {"drawn": "x" * LONGEST_CUT}
SOON = aiohttp.ClientTimeout(total=0.5)


@pytest.fixture
async def link() -> AsyncIterator[Link]:
    """A proxy before a server that answers BODY."""
    port, target = free_ports(2)
    runner = web.AppRunner(_server())
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", target).start()
    link = Link(port, target)
    server = await asyncio.start_server(lambda *ends: serve(link, *ends), "127.0.0.1", port)
    try:
        yield link
    finally:
        link.set(None, 0.0)
        server.close()
        await runner.cleanup()


def _server() -> web.Application:
    async def answer(_: web.Request) -> web.Response:
        return web.json_response(BODY)

    app = web.Application()
    app.router.add_post("/", answer)
    return app


async def asked(link: Link, limit: aiohttp.ClientTimeout = SOON) -> tuple[int, bytes]:
    """Status and body of an answer to a POST, which no client repeats by itself; raises what aiohttp raises."""
    async with (
        aiohttp.ClientSession(timeout=limit) as session,
        session.post(f"http://127.0.0.1:{link.port}/") as answer,
    ):
        return answer.status, await answer.read()


async def test_without_trouble_everything_comes_as_it_was_sent(link: Link) -> None:
    status, body = await asked(link)
    assert (status, json.loads(body)) == (200, BODY)


async def test_a_slow_answer_comes_whole(link: Link) -> None:
    link.set(Trouble.SLOW, 0.0)
    _, body = await asked(link, aiohttp.ClientTimeout(total=30))
    assert json.loads(body) == BODY


@pytest.mark.parametrize("place", [0.0, 0.5, 0.99])
async def test_an_altered_answer_has_its_length_and_is_no_json(link: Link, place: float) -> None:
    link.set(Trouble.ALTERED, place)
    _, body = await asked(link)
    assert len(body) == len(json.dumps(BODY))
    with pytest.raises(ValueError, match="utf-8"):
        json.loads(body)


@pytest.mark.parametrize(("trouble", "place"), [(Trouble.CUT, 0.5), (Trouble.CUT, 0.0), (Trouble.REFUSED, 0.0)])
async def test_a_connection_breaks_in_the_middle_or_before_it_begins(
    link: Link, trouble: Trouble, place: float
) -> None:
    link.set(trouble, place)
    with pytest.raises(aiohttp.ClientError):
        await asked(link)


async def test_a_silent_stage_says_nothing_and_its_connections_end_with_the_trouble(link: Link) -> None:
    link.set(Trouble.SILENT, 0.0)
    with pytest.raises(TimeoutError):
        await asked(link)
    waiting = asyncio.create_task(asked(link, aiohttp.ClientTimeout(total=30)))
    await asyncio.sleep(0.1)
    link.set(None, 0.0)
    with pytest.raises(aiohttp.ClientError):
        await waiting


async def test_errors_and_nonsense_are_answers_that_the_stage_never_gave(link: Link) -> None:
    link.set(Trouble.ERROR, 0.0)
    assert (await asked(link))[0] == 500
    link.set(Trouble.NONSENSE, 0.3)
    assert await asked(link) == (200, b'{"index": 0')
