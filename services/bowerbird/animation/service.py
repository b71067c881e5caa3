"""The animation service: `bentoml serve bowerbird.animation.service:Animation`.

    GET  /describe                     -> MotionDescription
    POST /read_prompt  PromptReading   -> nothing: the model reads it whole
    POST /animate      AnimateRequest  -> parts: progress…, previews…, frames…, done | error
                       (or parts: AnimateRequest and the frame that every clip begins with)

Called by the gateway. It draws as text-to-image does, on the same engine: what can be said without computing is said as
a status before the stream begins, and a client that hangs up, or a deadline that passes, stops the denoiser after the
window that it is at. Frame f of clip k leaves as frame `k * frames + f`, as soon as it is decoded.

Where no bundle that moves is served it answers every request with 501, so that the gateway, the charts and the
dashboards know the service by its name all the same.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import bentoml
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bowerbird.contracts import AnimateRequest
from bowerbird.errors import FeatureUnavailable
from bowerbird.niceness import let_others_go_first
from bowerbird.settings import PACKAGED_MODELS, Settings
from bowerbird.worker import WORKER_OPTIONS, create_worker_app

if TYPE_CHECKING:
    from bowerbird.engine.executor import Executor
    from bowerbird.engine.order import Order
    from bowerbird.frames import Frames

PACKAGED = PACKAGED_MODELS / "fledgling-motion"
MAX_PICTURES = 1
"""What a clip begins with."""

logger = logging.getLogger(__name__)


async def describe(request: Request) -> Response:
    """What this service can animate."""
    executor = _executor(request)
    from bowerbird.engine.serving.description import motion_description_of

    description = motion_description_of(executor)
    return Response(description.model_dump_json(), media_type="application/json")


async def read_prompt(request: Request) -> Response:
    """Whether a prompt is not too long."""
    _executor(request)
    from bowerbird.engine.serving import answering

    return await answering.read_prompt(request)


async def animate(request: Request) -> Response:
    """Draws `count` clips, each frame sent when it is decoded."""
    engine = _executor(request).engine
    from bowerbird.engine.serving.answering import answer

    async def ordered(asked: AnimateRequest, pictures: list[Frames]) -> Order:
        return engine.animate(asked, pictures)

    return await answer(request, AnimateRequest, ordered, MAX_PICTURES)


def _executor(request: Request) -> Executor:
    executor: Executor | None = getattr(request.app.state, "executor", None)
    if executor is None:
        raise FeatureUnavailable("No model that draws moving pictures is served here (BOWERBIRD_MOTION_MODEL).")
    return executor


def routes() -> list[Route]:
    """What the service answers."""
    return [
        Route("/describe", describe, methods=["GET"]),
        Route("/read_prompt", read_prompt, methods=["POST"]),
        Route("/animate", animate, methods=["POST"]),
    ]


app = create_worker_app("animation", routes())


@bentoml.service(name="animation", **WORKER_OPTIONS)
@bentoml.asgi_app(app, path="/")
class Animation:
    """Opens the bundle and draws once; one that is not sound stops the start, one that does not move is not served."""

    def __init__(self) -> None:
        settings = Settings()
        self._executor: Executor | None = None
        folder = moving(settings.motion_model)
        if folder is None:
            return
        let_others_go_first(settings.animation_niceness)
        from bowerbird.engine.backend import open_backend
        from bowerbird.engine.executor import Executor
        from bowerbird.engine.opening import open_engine
        from bowerbird.engine.serving.answering import end_process, equip

        engine = open_engine(folder, open_backend(settings), fixed_batch=settings.fixed_batch)
        self._executor = Executor(engine, settings.slots, on_device_lost=end_process)
        equip(app, self._executor, settings.request_timeout_seconds)

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]
    def close(self) -> None:
        """Stops drawing; whoever still listens gets the end of a stream without `done`."""
        if self._executor is not None:
            self._executor.close()


def moving(named: Path | None, packaged: Path = PACKAGED) -> Path | None:
    """The folder of the bundle to serve; None where there is none, or it draws stills only."""
    folder = packaged if named is None else named
    if named is None and not folder.exists():
        logger.info("no model that moves is served: none is named, and none came along")
        return None
    if not _moves(folder):
        logger.warning("no model that moves is served: the bundle draws stills only", extra={"bundle": str(folder)})
        return None
    return folder


def _moves(folder: Path) -> bool:
    """Whether it says so; of a folder that is no bundle, opening it says what is wrong."""
    from bowerbird.engine.bundle import MANIFEST, MOTION, Manifest

    try:
        manifest = Manifest.model_validate_json((folder / MANIFEST).read_bytes())
    except (OSError, ValidationError):
        return True
    return manifest.drawing is not None and manifest.drawing.motion is not None and MOTION in manifest.parts
