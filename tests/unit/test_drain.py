"""A model service that is told to end, through an ASGI transport: nothing new, nothing cut off."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from bowerbird.worker import create_worker_app


class Service:
    """Draws until it is told to stop; what it streams is what it was asked."""

    def __init__(self, notice_seconds: float = 0.0) -> None:
        self.drawing, self.finish = asyncio.Event(), asyncio.Event()
        routes = [Route("/draw", self._draw, methods=["POST"]), Route("/describe", self._describe)]
        app = create_worker_app("test", routes, notice_seconds)
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service", timeout=10)

    async def draw(self) -> httpx.Response:
        return await self.client.post("/draw")

    async def drain(self, query: str = "", headers: dict[str, str] | None = None) -> httpx.Response:
        return await self.client.get(f"/drain{query}", headers=headers)

    async def _draw(self, _: Request) -> Response:
        async def frames() -> AsyncIterator[bytes]:
            yield b"first "
            self.drawing.set()
            await self.finish.wait()
            yield b"last"

        return StreamingResponse(frames())

    async def _describe(self, _: Request) -> Response:
        return JSONResponse({"name": "fledgling"})


async def test_what_is_drawn_is_finished_and_nothing_new_is_begun() -> None:
    service = Service()
    drawing = asyncio.create_task(service.draw())
    await service.drawing.wait()
    drain = asyncio.create_task(service.drain())
    await asyncio.sleep(0)
    refused = await service.draw()
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "stage_full")
    assert refused.headers["retry-after"] == "1"
    assert refused.headers["bowerbird-service"].startswith("test/")
    assert (await service.client.get("/describe")).status_code == 200, "it still listens"
    assert not drain.done()

    service.finish.set()
    assert (await drawing).text == "first last"
    assert (await drain).json() == {"running": 0}


async def test_who_has_no_more_time_is_told_what_is_left() -> None:
    service = Service()
    drawing = asyncio.create_task(service.draw())
    await service.drawing.wait()
    assert (await service.drain("?seconds=0")).json() == {"running": 1}
    service.finish.set()
    assert (await drawing).text == "first last"


async def test_a_service_without_a_queue_before_it_takes_what_was_sent_before_the_news_was_heard() -> None:
    service = Service(notice_seconds=0.05)
    service.finish.set()
    drain = asyncio.create_task(service.drain())
    await asyncio.sleep(0)
    assert (await service.draw()).status_code == 200
    assert (await drain).json() == {"running": 0}
    assert (await service.draw()).status_code == 429


async def test_one_that_has_nothing_to_do_is_drained_at_once_and_twice_is_as_once() -> None:
    service = Service()
    assert [(await service.drain()).status_code for _ in range(2)] == [200, 200]


@pytest.mark.parametrize("method", ["POST", "DELETE"])
async def test_only_a_get_drains(method: str) -> None:
    service = Service()
    service.finish.set()
    assert (await service.client.request(method, "/drain")).status_code == 404
    assert (await service.draw()).status_code == 200


async def test_a_page_in_a_browser_drains_nothing() -> None:
    service = Service()
    service.finish.set()
    assert (await service.drain(headers={"Sec-Fetch-Site": "cross-site"})).status_code == 404
    assert (await service.draw()).status_code == 200
