"""The text-to-image service: `bentoml serve bowerbird.text_to_image.service:TextToImage`.

    GET  /describe                     -> ModelDescription
    GET  /loras                        -> LoraCatalogue
    POST /read_prompt  PromptReading   -> nothing: the model reads it whole
    POST /draw         DrawRequest     -> parts: progress…, previews…, frames…, done | error
                       (or parts: DrawRequest and the frames it begins with)

Called by the gateway. What can be said without computing (a field out of range, too many tokens, an unknown LoRA, no
free slot, a deadline that cannot be met) is said as a status before the stream begins; from then on the stream carries
everything, an error too. A client that hangs up, or a deadline that passes, stops the denoiser after the step it is in.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import bentoml
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bowerbird.contracts import DrawRequest
from bowerbird.settings import Settings
from bowerbird.worker import WORKER_OPTIONS, create_worker_app

if TYPE_CHECKING:
    from bowerbird.engine.drawing import Engine
    from bowerbird.engine.executor import Executor
    from bowerbird.engine.order import Order
    from bowerbird.frames import Frames

MAX_PICTURES = 2
"""What a drawing begins with: a picture and a mask."""


async def describe(request: Request) -> Response:
    """What this service can draw."""
    from bowerbird.engine.serving.description import description_of

    description = description_of(request.app.state.executor)
    return Response(description.model_dump_json(), media_type="application/json")


async def loras(request: Request) -> Response:
    """The LoRAs that lie in the folder now; reads those that are new, so it takes a thread."""
    executor: Executor = request.app.state.executor
    catalogue = await asyncio.to_thread(executor.engine.shelf.catalogue)
    return Response(catalogue.model_dump_json(), media_type="application/json")


async def read_prompt(request: Request) -> Response:
    """Whether a prompt is not too long."""
    from bowerbird.engine.serving import answering

    return await answering.read_prompt(request)


async def draw(request: Request) -> Response:
    """Draws `count` frames, each sent when it is finished."""
    from bowerbird.engine.serving.answering import answer

    engine: Engine = request.app.state.executor.engine

    async def ordered(asked: DrawRequest, pictures: list[Frames]) -> Order:
        if asked.lora:  # files are read
            return await asyncio.to_thread(engine.order, asked, pictures)
        return engine.order(asked, pictures)

    return await answer(request, DrawRequest, ordered, MAX_PICTURES)


def routes() -> list[Route]:
    """What the service answers."""
    return [
        Route("/describe", describe, methods=["GET"]),
        Route("/loras", loras, methods=["GET"]),
        Route("/read_prompt", read_prompt, methods=["POST"]),
        Route("/draw", draw, methods=["POST"]),
    ]


app = create_worker_app("text-to-image", routes())


@bentoml.service(name="text-to-image", **WORKER_OPTIONS)
@bentoml.asgi_app(app, path="/")
class TextToImage:
    """Opens the bundle and draws once; a file that is not what the bundle says stops the start and is named."""

    def __init__(self) -> None:
        from bowerbird.engine.backend import open_backend
        from bowerbird.engine.executor import Executor
        from bowerbird.engine.opening import open_engine
        from bowerbird.engine.serving.answering import end_process, equip

        settings = Settings()
        engine = open_engine(
            settings.model,
            open_backend(settings),
            loras=settings.loras,
            lora_slots=settings.lora_slots,
            fixed_batch=settings.fixed_batch,
        )
        self._executor = Executor(engine, settings.slots, on_device_lost=end_process)
        equip(app, self._executor, settings.request_timeout_seconds)

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]
    def close(self) -> None:
        """Stops drawing; whoever still listens gets the end of a stream without `done`."""
        self._executor.close()
