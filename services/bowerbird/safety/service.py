"""The safety service: `bentoml serve bowerbird.safety.service:Safety`.

The gateway asks it twice: `POST /check_prompt` before anything is stored or computed, `POST /check_images` before
anything leaves (of moving pictures `POST /check_clips`); `GET /describe` says by what it decides now. They answer with
what the policy says or with an error, never with "allowed" for want of an answer.
It is ready when policy, lexicons and the image graph are loaded, verified and have run once.

Checks run in threads (one for texts, one for frames), so that a long picture delays neither a prompt nor `/readyz`;
short texts, which are most, do not: a thread's turn takes as long as their check.
Their log lines carry a decision's id but no trace id: a person in danger must not be found through a trace.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextvars import Context
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, TypeVar
from uuid import uuid4

import bentoml
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bowerbird import __version__
from bowerbird.arrival import give_up, one_by_one, one_frame, receive, start_each
from bowerbird.contracts import (
    ClipCheck,
    ClipDecisions,
    ImageCheck,
    ImageDecisions,
    ImageVerdict,
    PromptCheck,
    SafetyDescription,
)
from bowerbird.deadline import Deadline
from bowerbird.errors import StageUnavailable
from bowerbird.settings import Settings
from bowerbird.worker import DRAIN_NOTICE_SECONDS, WORKER_OPTIONS, create_worker_app, read_json

if TYPE_CHECKING:
    from bowerbird.safety.clips import ClipLook
    from bowerbird.safety.images import ImagePipeline
    from bowerbird.safety.pipeline import PromptPipeline
    from bowerbird.safety.policy import Policy

# Without a deadline from the caller: twenty frames on a slow core.
DEFAULT_SECONDS = 30.0
# Of prompt and negative prompt together; these are checked within half a millisecond.
SHORT_CHARACTERS = 200
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


async def describe(request: Request) -> Response:
    """What it decides by."""
    return _json(SafetyDescription(version=__version__, policy=_checks(request).policy.reference))


async def check_prompt(request: Request) -> Response:
    """May this be drawn? `PromptCheck` in, `Decision` out."""
    checks = _checks(request)
    async with Deadline.from_headers(request.headers, DEFAULT_SECONDS).within("safety"):
        check = await read_json(request, PromptCheck)
        if len(check.prompt) + len(check.negative_prompt or "") <= SHORT_CHARACTERS:
            # In a context of its own, as in a thread: its log lines must not have the caller's trace id.
            return _json(Context().run(checks.prompts.check, check))
        return _json(await _in_thread(checks.prompt_thread, lambda: checks.prompts.check(check)))


async def check_images(request: Request) -> Response:
    """May these leave? Parts (`ImageCheck`, then its frames) in, `ImageDecisions` out; frames are judged on arrival."""
    checks = _checks(request)
    started = perf_counter()
    async with Deadline.from_headers(request.headers, DEFAULT_SECONDS).within("safety"):
        verdicts = await _verdicts(checks, request)
    return _json(
        ImageDecisions(
            id=f"sfi_{uuid4().hex}",
            verdicts=verdicts,
            policy=checks.policy.reference,
            latency_ms=(perf_counter() - started) * 1000,
        )
    )


async def check_clips(request: Request) -> Response:
    """May these leave? Parts (`ClipCheck`, then its frames) in, `ClipDecisions` out; frames are looked at in order."""
    checks = _checks(request)
    started = perf_counter()
    async with Deadline.from_headers(request.headers, DEFAULT_SECONDS).within("safety"):
        looks = await _looks(checks, request)
        verdicts = [look.verdict() for look in looks]
    return _json(
        ClipDecisions(
            id=f"sfi_{uuid4().hex}",
            verdicts=verdicts,
            policy=checks.policy.reference,
            latency_ms=(perf_counter() - started) * 1000,
        )
    )


async def _looks(checks: Checks, request: Request) -> list[ClipLook]:
    from bowerbird.safety.clips import ClipLook

    announced, frames = await receive(request, ClipCheck)
    looks = [ClipLook(index, announced, checks.images, checks.policy) for index in range(announced.clips)]

    def see(index: int, raw: bytes) -> None:
        looks[index // announced.frames].see(one_frame(raw, index)[0])

    await one_by_one(
        frames,
        announced.clips * announced.frames,
        lambda index, raw: _in_thread(checks.image_thread, partial(see, index, raw)),
    )
    return looks


async def _verdicts(checks: Checks, request: Request) -> list[ImageVerdict]:
    announced, frames = await receive(request, ImageCheck)

    def judge(index: int, raw: bytes) -> ImageVerdict:
        return checks.images.check(index, one_frame(raw, index)[0])

    tasks = await start_each(
        frames, announced.count, lambda index, raw: _in_thread(checks.image_thread, partial(judge, index, raw))
    )
    try:
        return await asyncio.gather(*tasks)
    finally:
        await give_up(tasks)


def _in_thread(executor: Executor, work: Callable[[], Answer]) -> asyncio.Future[Answer]:
    return asyncio.get_running_loop().run_in_executor(executor, work)


def _checks(request: Request) -> Checks:
    checks: Checks | None = getattr(request.app.state, "checks", None)
    if checks is None:
        raise StageUnavailable("safety is starting.", retry_after_seconds=1)
    return checks


def _json(body: BaseModel) -> Response:
    return Response(body.model_dump_json(), media_type="application/json")


routes = [
    Route("/describe", describe, methods=["GET"]),
    Route("/check_prompt", check_prompt, methods=["POST"]),
    Route("/check_images", check_images, methods=["POST"]),
    Route("/check_clips", check_clips, methods=["POST"]),
]
app = create_worker_app("safety", routes, drain_notice_seconds=DRAIN_NOTICE_SECONDS)


@bentoml.service(name="safety", **WORKER_OPTIONS)
@bentoml.asgi_app(app, path="/")
class Safety:
    """The worker's shell around `app`; a policy that is not understood ends the process here."""

    def __init__(self) -> None:
        app.state.checks = load_checks(Settings())
