"""Real gateways before stages of which a test says how long a drawing takes, and a crowd of clients."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx2
from starlette.requests import Request
from starlette.responses import Response

from bowerbird.contracts import DrawRequest
from bowerbird.engine.serving.fence import Fence
from bowerbird.errors import GrantStale, StageFull

from ...gateways import RunningGateway, RunningGateways, running_gateways
from ...unit.gateway.stand_ins import MODEL, Seen, StandIns, _response, frame, served

PROMPT = "an american robin perched on a branch in winter"
SLOTS = 2
PART = 16
"""Requests of one tenant that may wait."""
CROWD, QUIET = "key-of-the-crowd", "key-of-the-quiet"
"""API keys of two tenants."""

Answers = dict[int, Future[httpx2.Response]]
"""Seed -> the answer to come."""


class Stages(StandIns):
    """Stages whose text-to-image has slots and a fence, and counts."""

    def __init__(self) -> None:
        super().__init__()
        self.fence = Fence()
        self.drawing = 0
        self.reset()

    def reset(self) -> None:
        super().reset()
        self.behaviour.described = MODEL.model_copy(update={"slots": SLOTS})
        self.behaviour.seconds_per_step = 0.05
        self.held = False
        """Whoever is drawn stays at the first step."""
        self.most = self.full = self.stale = 0
        self.finished: list[int] = []
        """Seeds, in the order in which they were drawn to their end."""

    async def _draw(self, request: Request, seen: Seen) -> Response:
        try:
            self.fence.pass_through(request.headers)
        except GrantStale as error:
            self.stale += 1
            return _response(error)
        if self.drawing >= SLOTS:
            self.full += 1
            return _response(StageFull("full", retry_after_seconds=1))
        return await super()._draw(request, seen)

    async def _drawing(self, asked: DrawRequest) -> AsyncIterator[bytes]:
        self.drawing += 1
        self.most = max(self.most, self.drawing)
        try:
            while self.held:  # noqa: ASYNC110 - another thread says so
                await asyncio.sleep(0.01)
            async for part in super()._drawing(asked):
                yield part
            self.finished.append(asked.seed)
        finally:
            self.drawing -= 1


@contextmanager
def gateways_before(stages: Stages, database: str | None, folder: Path, count: int = 2) -> Iterator[RunningGateways]:
    """So many on a PostgreSQL, or one with a SQLite of its own."""
    names = ("safety", "text-to-image", "animation", "curation")
    with served(stages.app()) as url:
        environment = {f"BOWERBIRD_{name.upper().replace('-', '_')}_URL": f"{url}/{name}" for name in names} | {
            **({} if database is None else {"BOWERBIRD_DATABASE_URL": database}),
            "BOWERBIRD_RESULT_BYTES": "0",
            "BOWERBIRD_DRAIN_SECONDS": "60",
            "BOWERBIRD_API_KEYS": json.dumps([CROWD, QUIET]),
            "BOWERBIRD_QUEUE_REQUESTS": str(4 * PART),
            "BOWERBIRD_QUEUE_TENANT_PART": "0.25",
        }
        with running_gateways(folder, count, **environment) as running:
            yield running


class Crowd:
    """Many clients at once, whose seeds are all different."""

    def __init__(self, threads: ThreadPoolExecutor) -> None:
        self._threads = threads
        self._seed = 0

    def send(self, gateway: RunningGateway, count: int, steps: int = 4, key: str = CROWD) -> Answers:
        """The answers to come."""
        answers: Answers = {}
        for _ in range(count):
            self._seed += 1
            body = {"prompt": PROMPT, "seed": self._seed, "steps": steps}
            answers[self._seed] = self._threads.submit(
                gateway.client.post, "/v1/images/generations", json=body, headers=authorized(key)
            )
        return answers


def assert_drawn(answers: Answers) -> None:
    """Everybody has the picture of the own seed."""
    for seed, answer in answers.items():
        assert answer.result().status_code == 200, answer.result().text
        picture = base64.b64decode(answer.result().json()["data"][0]["b64_json"])
        assert picture == frame(seed, 3_200)


def authorized(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}
