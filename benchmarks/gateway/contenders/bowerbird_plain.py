"""The plain route as a route of the gateway would be: `python bowerbird_plain.py PORT`.

The same server, the same layers, the same reading of bodies; PLAIN_TELEMETRY=1 puts in those that trace, count and log.
"""

from __future__ import annotations

import os
import sys

import uvicorn
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bowerbird.gateway.access import Access
from bowerbird.gateway.api.body import RequestBody, ResponseBody, read_json
from bowerbird.gateway.main import SERVER_OPTIONS
from bowerbird.gateway.metrics import Metrics
from bowerbird.telemetry import TracedASGI, set_up_telemetry
from bowerbird.worker import UnforeseenASGI, error_handlers

TELEMETRY = os.environ.get("PLAIN_TELEMETRY") == "1"


class Ask(RequestBody):
    """One request."""

    prompt: str
    steps: int
    seed: int


class Answer(ResponseBody):
    """Its answer."""

    id: str
    characters: int
    steps: int
    seed: int


async def plain(request: Request) -> Response:
    """No work."""
    asked = await read_json(request, Ask)
    return answer(Answer(id="req_1", characters=len(asked.prompt), steps=asked.steps, seed=asked.seed))


async def livez(_: Request) -> Response:
    """It answers."""
    return Response()


def answer(body: BaseModel) -> Response:
    """As every handler of the gateway answers."""
    return Response(body.model_dump_json(), media_type="application/json")


def app() -> Starlette:
    """Two routes."""
    layers = [Middleware(UnforeseenASGI)]
    if TELEMETRY:
        set_up_telemetry("plain")
        layers = [Middleware(TracedASGI), Middleware(Access, metrics=Metrics()), *layers]
    routes = [Route("/plain", plain, methods=["POST"]), Route("/livez", livez)]
    return Starlette(routes=routes, middleware=layers, exception_handlers=error_handlers())


if __name__ == "__main__":
    uvicorn.run(app(), host="127.0.0.1", port=int(sys.argv[1]), **(SERVER_OPTIONS | {"lifespan": "off"}))
