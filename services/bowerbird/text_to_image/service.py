"""The text-to-image service: `bentoml serve bowerbird.text_to_image.service:TextToImage`.

    GET  /describe                  -> ModelDescription
    GET  /loras                     -> LoraCatalogue
    POST /draw      DrawRequest     -> parts: progress…, previews…, frames…, done | error
                    (or parts: DrawRequest and the frames it begins with)

Called by the gateway. What can be said without computing (a field out of range, too many tokens, an unknown LoRA, no
free slot, a deadline that cannot be met) is said as a status before the stream begins; from then on the stream carries
everything, an error too. A client that hangs up, or a deadline that passes, stops the denoiser after the step it is in.
"""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

import bentoml
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bowerbird.contracts import PROGRESS_HEADER, DrawRequest, ModelCosts, ModelDescription, SizeCosts
from bowerbird.errors import RequestInvalid
from bowerbird.settings import Settings
from bowerbird.text_to_image.claim import claim_of
from bowerbird.text_to_image.fence import Fence
from bowerbird.worker import WORKER_OPTIONS, create_worker_app, read_json

if TYPE_CHECKING:
    from bowerbird.engine.drawing import Engine
    from bowerbird.engine.executor import Executor
    from bowerbird.frames import Frames

MAX_PICTURES = 2
"""What a drawing begins with: a picture and a mask."""


async def describe(request: Request) -> Response:
    """What this service can draw."""
    executor: Executor = request.app.state.executor
    engine = executor.engine
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
        max_prompt_tokens=engine.conditioner.max_prompt_tokens,
        slots=executor.slots,
        max_lora_rank=engine.max_lora_rank,
        previews=engine.preview is not None,
        edits=engine.encoder is not None,
        costs=costs_of(engine),
        lineage=manifest.lineage,
    )
    return Response(description.model_dump_json(), media_type="application/json")


def costs_of(engine: Engine) -> ModelCosts | None:
    """What requests cost here, as far as the engine has measured it; None before it has run."""
    from bowerbird.engine.scheduling.work import Bucket, Stage

    costs, facts = engine.costs, engine.facts
    if not costs.unit_seconds:
        return None
    buckets = {size: Bucket(facts.latents.shape(size)) for size in facts.sizes}
    return ModelCosts(
        unit_seconds=costs.unit_seconds,
        guided_rows=1 if facts.embeds_guidance else 2,
        sizes=[
            SizeCosts(
                size=size,
                encode=costs.units(Stage.ENCODE, bucket, 1),
                step=costs.units(Stage.STEP, bucket, engine.rows_per_batch),
                decode=costs.units(Stage.DECODE, bucket, 1),
                read=costs.units(Stage.ENCODE_PICTURE, bucket, 1),
            )
            for size, bucket in buckets.items()
        ],
    )


async def loras(request: Request) -> Response:
    """The LoRAs that lie in the folder now; reads those that are new, so it takes a thread."""
    executor: Executor = request.app.state.executor
    catalogue = await asyncio.to_thread(executor.engine.shelf.catalogue)
    return Response(catalogue.model_dump_json(), media_type="application/json")


async def draw(request: Request) -> Response:
    """Draws `count` frames, each sent when it is finished."""
    from bowerbird.text_to_image.stream import DrawResponse

    executor: Executor = request.app.state.executor
    request.app.state.fence.pass_through(request.headers)
    claim = claim_of(request.headers, request.app.state.timeout_seconds)
    asked, pictures = await _asked(request)
    engine = executor.engine
    order = await asyncio.to_thread(engine.order, asked, pictures) if asked.lora else engine.order(asked, pictures)
    tells_steps = request.headers.get(PROGRESS_HEADER) != "none"
    return DrawResponse(executor.submit(order, claim), order, engine.bundle, tells_steps=tells_steps)


async def _asked(request: Request) -> tuple[DrawRequest, list[Frames]]:
    """The request, and the pictures that it begins with: JSON, or parts where there are some."""
    if not request.headers.get("content-type", "").startswith("multipart/"):
        return await read_json(request, DrawRequest), []
    from bowerbird.arrival import one_frame, receive

    asked, frames = await receive(request, DrawRequest)
    pictures: list[Frames] = []
    async for raw in frames:
        if len(pictures) == MAX_PICTURES:
            raise RequestInvalid(f"More than {MAX_PICTURES} pictures to begin with came.", param="beginning")
        pictures.append(one_frame(raw, len(pictures)))
    return asked, pictures


def routes() -> list[Route]:
    """What the service answers."""
    return [
        Route("/describe", describe, methods=["GET"]),
        Route("/loras", loras, methods=["GET"]),
        Route("/draw", draw, methods=["POST"]),
    ]


def equip(app: Starlette, executor: Executor, timeout_seconds: float) -> None:
    """Hands the app what its handlers need; `timeout_seconds` holds for a caller who states no deadline."""
    app.state.executor = executor
    app.state.fence = Fence()
    app.state.timeout_seconds = timeout_seconds


def _end_process() -> None:
    """Asks this process to end as it does at a shutdown; whoever supervises it starts another, with a sound device."""
    os.kill(os.getpid(), signal.SIGTERM)


app = create_worker_app("text-to-image", routes())


@bentoml.service(name="text-to-image", **WORKER_OPTIONS)
@bentoml.asgi_app(app, path="/")
class TextToImage:
    """Opens the bundle and draws once; a file that is not what the bundle says stops the start and is named."""

    def __init__(self) -> None:
        from bowerbird.engine.backend import open_backend
        from bowerbird.engine.executor import Executor
        from bowerbird.engine.opening import open_engine

        settings = Settings()
        engine = open_engine(
            settings.model,
            open_backend(settings),
            loras=settings.loras,
            lora_slots=settings.lora_slots,
            fixed_batch=settings.fixed_batch,
        )
        self._executor = Executor(engine, settings.slots, on_device_lost=_end_process)
        equip(app, self._executor, settings.request_timeout_seconds)

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]
    def close(self) -> None:
        """Stops drawing; whoever still listens gets the end of a stream without `done`."""
        self._executor.close()
