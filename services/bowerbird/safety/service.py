"""The safety service: `bentoml serve bowerbird.safety.service:Safety`.

The gateway asks it twice: `POST /check_prompt` before anything is stored or computed, `POST /check_images` before
anything leaves. Both answer with what the policy says or with an error, never with "allowed" for want of an answer.
It is ready when policy, lexicons and the image graph are loaded, verified and have run once.

Checks run in threads (one for texts, one for frames), so that a long picture delays neither a prompt nor `/readyz`.
Their log lines carry a decision's id but no trace id: a person in danger must not be found through a trace.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, TypeVar
from uuid import uuid4

import bentoml
from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bowerbird.contracts import ImageCheck, ImageDecisions, ImageVerdict, PromptCheck
from bowerbird.deadline import Deadline
from bowerbird.errors import DeadlineExceeded, RequestInvalid, StageUnavailable
from bowerbird.parts import Kind, Part, read_parts
from bowerbird.settings import Settings
from bowerbird.worker import WORKER_OPTIONS, create_worker_app, read_json

if TYPE_CHECKING:
    from bowerbird.safety.images import ImagePipeline
    from bowerbird.safety.pipeline import PromptPipeline
    from bowerbird.safety.policy import Policy

# Without a deadline from the caller: twenty frames on a slow core.
DEFAULT_SECONDS = 30.0
# Every recogniser has something to do here: its first use builds tables that would otherwise delay the first prompt.
WARM_UP_PROMPT = (
    "a robin at 10.0.0.1, robin@example.org, 4111 1111 1111 1111, DE89 3704 0044 0532 0130 00, +49 30 901820"
)

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Checks:
    """What the handlers need, loaded and warm."""

    policy: Policy
    prompts: PromptPipeline
    images: ImagePipeline
    prompt_thread: Executor = field(default_factory=lambda: ThreadPoolExecutor(1, "prompts"))
    image_thread: Executor = field(default_factory=lambda: ThreadPoolExecutor(1, "images"))


def load_checks(settings: Settings) -> Checks:
    """Policy, gates and graph, verified and run once; raises PolicyInvalid, and then the service does not start."""
    from bowerbird.safety.images import create_image_pipeline
    from bowerbird.safety.pipeline import create_prompt_pipeline
    from bowerbird.safety.policy import PACKAGED_POLICY, load_policy

    policy = load_policy(settings.safety_policy or PACKAGED_POLICY)
    checks = Checks(policy, create_prompt_pipeline(policy), create_image_pipeline(policy))
    checks.prompts.warm_up(WARM_UP_PROMPT)
    checks.images.warm_up()
    return checks


async def check_prompt(request: Request) -> Response:
    """May this be drawn? `PromptCheck` in, `Decision` out."""
    checks = _checks(request)
    async with _deadline(request):
        check = await read_json(request, PromptCheck)
        return _json(await _in_thread(checks.prompt_thread, lambda: checks.prompts.check(check)))


async def check_images(request: Request) -> Response:
    """May these leave? Parts (`ImageCheck`, then its frames) in, `ImageDecisions` out; frames are judged on arrival."""
    checks = _checks(request)
    started = perf_counter()
    async with _deadline(request):
        verdicts = await _verdicts(checks, read_parts(request.stream()))
    return _json(
        ImageDecisions(
            id=f"sfi_{uuid4().hex}",
            verdicts=verdicts,
            policy=checks.policy.reference,
            latency_ms=(perf_counter() - started) * 1000,
        )
    )


async def _verdicts(checks: Checks, parts: AsyncIterator[Part]) -> list[ImageVerdict]:
    announced = _announced(await anext(parts, None))
    pending: list[asyncio.Future[ImageVerdict]] = []
    try:
        async for part in parts:
            if part.kind is not Kind.FRAMES or len(pending) >= announced.count:
                raise RequestInvalid(f"After the request part exactly {announced.count} frames parts are read.")
            pending.append(_in_thread(checks.image_thread, _judging(checks, len(pending), part.body)))
        if len(pending) != announced.count:
            raise RequestInvalid(f"{announced.count} frames were announced, {len(pending)} came.", param="count")
        return await asyncio.gather(*pending)
    finally:
        for future in pending:
            future.cancel()


def _judging(checks: Checks, index: int, raw: bytes) -> Callable[[], ImageVerdict]:
    def judge() -> ImageVerdict:
        from bowerbird.frames import frames_of

        frames = frames_of(raw)
        if len(frames) != 1:
            raise RequestInvalid(f"A frames part holds one frame, this one {len(frames)}.")
        return checks.images.check(index, frames[0])

    return judge


def _announced(part: Part | None) -> ImageCheck:
    if part is None or part.kind is not Kind.REQUEST:
        raise RequestInvalid("The first part must be the request part.")
    try:
        return part.read(ImageCheck)
    except ValidationError as error:
        raise RequestInvalid("The request part must be an ImageCheck.", param="count") from error


def _in_thread(executor: Executor, work: Callable[[], Answer]) -> asyncio.Future[Answer]:
    return asyncio.get_running_loop().run_in_executor(executor, work)


@asynccontextmanager
async def _deadline(request: Request) -> AsyncIterator[None]:
    deadline = Deadline.from_headers(request.headers, DEFAULT_SECONDS)
    try:
        async with asyncio.timeout(deadline.remaining_seconds):
            yield
    except TimeoutError as error:
        raise DeadlineExceeded("safety: the deadline passed before a decision.", retry_after_seconds=1) from error


def _checks(request: Request) -> Checks:
    checks: Checks | None = getattr(request.app.state, "checks", None)
    if checks is None:
        raise StageUnavailable("safety is starting.", retry_after_seconds=1)
    return checks


def _json(body: BaseModel) -> Response:
    return Response(body.model_dump_json(), media_type="application/json")


routes = [
    Route("/check_prompt", check_prompt, methods=["POST"]),
    Route("/check_images", check_images, methods=["POST"]),
]
app = create_worker_app("safety", routes)


@bentoml.service(name="safety", **WORKER_OPTIONS)
@bentoml.asgi_app(app, path="/")
class Safety:
    """The worker's shell around `app`; a policy that is not understood ends the process here."""

    def __init__(self) -> None:
        app.state.checks = load_checks(Settings())
