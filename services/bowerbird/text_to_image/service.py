"""The text-to-image service: `bentoml serve bowerbird.text_to_image.service:TextToImage`.

    GET  /describe                  -> ModelDescription
    POST /draw      DrawRequest     -> parts: progress…, frames…, done | error

Called by the gateway. What can be said without computing (a field out of range, too many tokens, no free slot) is said
as a status before the stream begins; from then on the stream carries everything, an error too. A client that hangs up,
or a deadline that passes, stops the denoiser after the step it is in.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

import bentoml
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bowerbird.contracts import DrawRequest, ModelDescription
from bowerbird.deadline import Deadline
from bowerbird.settings import Settings
from bowerbird.worker import WORKER_OPTIONS, create_worker_app, read_json

if TYPE_CHECKING:
    from bowerbird.engine.drawing import Engine
    from bowerbird.engine.lane import Lane


async def describe(request: Request) -> Response:
    """What this service can draw."""
    engine: Engine = request.app.state.engine
    lane: Lane = request.app.state.lane
    manifest, drawing = engine.bundle.manifest, engine.facts
    description = ModelDescription(
        name=manifest.name,
        version=manifest.version,
        digest=engine.bundle.digest,
        licence=manifest.licence,
        created=manifest.created,
        sizes=drawing.sizes,
        max_steps=drawing.max_steps,
        default_steps=drawing.default_steps,
        default_guidance_scale=drawing.default_guidance_scale,
        max_prompt_tokens=engine.tokenizer.facts.max_prompt_tokens,
        slots=lane.slots,
        lineage=manifest.lineage,
    )
    return Response(description.model_dump_json(), media_type="application/json")


async def draw(request: Request) -> Response:
    """Draws `count` frames, each sent when it is finished."""
    from bowerbird.text_to_image.stream import DrawResponse, parts_of

    engine: Engine = request.app.state.engine
    lane: Lane = request.app.state.lane
    deadline = Deadline.from_headers(request.headers, request.app.state.timeout_seconds)
    order = engine.order(await read_json(request, DrawRequest))
    job = lane.submit(partial(parts_of, engine, order, time.monotonic()), deadline)
    return DrawResponse(job, order)


def routes() -> list[Route]:
    """What the service answers."""
    return [Route("/describe", describe, methods=["GET"]), Route("/draw", draw, methods=["POST"])]


def equip(app: Starlette, engine: Engine, lane: Lane, timeout_seconds: float) -> None:
    """Hands the app what its handlers need; `timeout_seconds` holds for a caller who states no deadline."""
    app.state.engine = engine
    app.state.lane = lane
    app.state.timeout_seconds = timeout_seconds


app = create_worker_app("text-to-image", routes())


@bentoml.service(name="text-to-image", **WORKER_OPTIONS)
@bentoml.asgi_app(app, path="/")
class TextToImage:
    """Opens the bundle and draws once; a file that is not what the bundle says stops the start and is named."""

    def __init__(self) -> None:
        from bowerbird.engine.cpu import CpuBackend
        from bowerbird.engine.lane import Lane
        from bowerbird.engine.opening import open_engine

        settings = Settings()
        engine = open_engine(settings.model, CpuBackend(settings.threads))
        self._lane = Lane(settings.slots)
        equip(app, engine, self._lane, settings.request_timeout_seconds)

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]
    def close(self) -> None:
        """Stops drawing; whoever still listens gets the end of a stream without `done`."""
        self._lane.close()
