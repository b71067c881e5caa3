"""A route of Starlette alone, on the gateway's server: `python starlette_plain.py PORT`; the measure of a machine."""

from __future__ import annotations

import sys

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bowerbird.gateway.main import SERVER_OPTIONS


async def plain(_: Request) -> Response:
    """A few bytes of JSON."""
    return Response(b'{"status":"alive"}', media_type="application/json")


if __name__ == "__main__":
    app = Starlette(routes=[Route("/plain", plain)])
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), **(SERVER_OPTIONS | {"lifespan": "off"}))
