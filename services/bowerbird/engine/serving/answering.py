"""How a request to draw is answered: what can be said without computing as a status, everything after that in a stream.

Called by the services' handlers, whose apps `equip` has handed an executor. Headers are looked at before the body, the
body before the model: a stale grant costs nothing.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Awaitable, Callable
from typing import TypeVar

from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from bowerbird.arrival import one_frame, receive
from bowerbird.contracts import PROGRESS_HEADER, PromptReading
from bowerbird.engine.executor import Executor
from bowerbird.engine.order import Order
from bowerbird.engine.serving.claim import claim_of
from bowerbird.engine.serving.fence import Fence
from bowerbird.engine.serving.stream import DrawResponse
from bowerbird.errors import RequestInvalid
from bowerbird.frames import Frames
from bowerbird.worker import read_json

Asked = TypeVar("Asked", bound=BaseModel)

Ordered = Callable[[Asked, list[Frames]], Awaitable[Order]]
"""Makes an order of a request and the pictures that it begins with; raises what cannot be drawn."""


def equip(app: Starlette, executor: Executor, timeout_seconds: float) -> None:
    """Hands the app what its handlers need; `timeout_seconds` holds for a caller who states no deadline."""
    app.state.executor = executor
    app.state.fence = Fence()
    app.state.timeout_seconds = timeout_seconds


def end_process() -> None:
    """Asks this process to end as it does at a shutdown; whoever supervises it starts another, with a sound device."""
    os.kill(os.getpid(), signal.SIGTERM)


async def answer(request: Request, contract: type[Asked], ordered: Ordered[Asked], max_pictures: int) -> Response:
    """The stream of a drawing; raises GrantStale, RequestInvalid, StageFull, DeadlineExceeded and what `ordered` does.

    A drawing begins with at most `max_pictures` pictures.
    """
    state = request.app.state
    executor: Executor = state.executor
    state.fence.pass_through(request.headers)
    claim = claim_of(request.headers, state.timeout_seconds)
    order = await ordered(*await _asked(request, contract, max_pictures))
    tells_steps = request.headers.get(PROGRESS_HEADER) != "none"
    return DrawResponse(executor.submit(order, claim), order, executor.engine.bundle, tells_steps=tells_steps)


async def read_prompt(request: Request) -> Response:
    """Nothing, where the model reads the prompts whole; raises PromptTooLong, naming the field."""
    asked = await read_json(request, PromptReading)
    executor: Executor = request.app.state.executor
    conditioner = executor.engine.conditioner
    conditioner.ids(asked.prompt)
    if asked.negative_prompt is not None:
        conditioner.ids(asked.negative_prompt, "negative_prompt")
    return Response()


async def _asked(request: Request, contract: type[Asked], max_pictures: int) -> tuple[Asked, list[Frames]]:
    """The request, and the pictures that it begins with: JSON, or parts where there are some."""
    if not request.headers.get("content-type", "").startswith("multipart/"):
        return await read_json(request, contract), []
    asked, frames = await receive(request, contract)
    pictures: list[Frames] = []
    async for raw in frames:
        if len(pictures) == max_pictures:
            raise RequestInvalid(f"More than {max_pictures} pictures to begin with came.", param="beginning")
        pictures.append(one_frame(raw, len(pictures)))
    return asked, pictures
