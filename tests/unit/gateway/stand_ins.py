"""Stand-ins for the stages: real HTTP servers that speak the contracts and misbehave on command.

The real services are used wherever they can show a fact (tests/integration); these exist for what a real one cannot be
made to do: be slow, stop in the middle, state a wrong digest, forget a verdict.
"""

from __future__ import annotations

import asyncio
import hashlib
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.types import ASGIApp

from bowerbird.contracts import (
    CurationDescription,
    Decision,
    DrawDone,
    DrawProgress,
    DrawRequest,
    FrameFacts,
    ImageCheck,
    ImageDecisions,
    Judgement,
    JudgeRequest,
    LoraCatalogue,
    ModelDescription,
    OpenDone,
    OpenRequest,
    Picture,
    PreviewFacts,
    PromptCheck,
    PromptReading,
    ProvenanceReport,
    PublishDone,
    PublishRequest,
    SafetyDescription,
    seed_of,
)
from bowerbird.errors import BowerbirdError, error_body
from bowerbird.parts import CONTENT_TYPE, END_OF_STREAM, Kind, Part, error_part, part, read_parts

from .clip_stand_ins import CURATION_OF_CLIPS, SAFETY_OF_CLIPS, animation
from .stand_in_answers import CURATION, DIGEST, LORA, MODEL, POLICY, REPORT, decision, judgement, verdicts

__all__ = [
    "CURATION",
    "DIGEST",
    "LORA",
    "MODEL",
    "POLICY",
    "REPORT",
    "Behaviour",
    "Seen",
    "StandIns",
    "decision",
    "frame",
    "judgement",
    "preview",
    "served",
    "stated",
    "verdicts",
]


@dataclass
class Behaviour:
    """What the stand-ins do; a test changes what it is about."""

    decide: Callable[[PromptCheck], Decision] = decision
    judge: Callable[[JudgeRequest], Judgement] = judgement
    verdicts: Callable[[int], ImageDecisions] = verdicts
    described: ModelDescription = MODEL
    drawn_digest: str = DIGEST
    frame_bytes: int = 3_200
    seconds_per_step: float = 0.0
    until_frames: threading.Event | None = None
    """What /draw waits for after its previews, and /animate, before the first frame."""
    told_steps: int = 0
    """Steps that /draw tells of before it waits for that."""
    finished_draws: int | None = None
    """How many draws come to an end; what is asked for after them waits, until this is changed."""
    preview_digest: str = DIGEST
    transparent: bool = False
    """Whether /open finds that the picture is its own mask."""
    answers: dict[str, Callable[[], Response | BowerbirdError]] = field(default_factory=dict)
    """Path -> an answer that replaces the stand-in's own."""
    after_frames: Callable[[], bytes] | None = None
    """What /draw writes after its first frame instead of going on; the stream then ends."""
    published: Callable[[Picture], Picture] = lambda picture: picture
    safety: SafetyDescription | None = None
    """What safety says it decides by; None: it does not say, as a release before."""
    curation: CurationDescription = CURATION
    published_by: CurationDescription = CURATION
    """What /publish says, whatever /describe said."""
    report: ProvenanceReport = REPORT


@dataclass
class Seen:
    """One request that a stage received."""

    path: str
    headers: dict[str, str]
    asked: Any = None
    frames: list[bytes] = field(default_factory=list)
    files: list[bytes] = field(default_factory=list)


class StandIns:
    """The four stages behind one socket; `/safety`, `/text-to-image`, `/animation`, `/curation` are their roots."""

    def __init__(self) -> None:
        self.behaviour = Behaviour()
        self.seen: list[Seen] = []
        self.draws_stopped = threading.Event()
        self._begun_draws = 0
        self.descriptions = 0
        """How often curation was asked what it chooses by and signs with."""

    def reset(self) -> None:
        """Everything behaves again, and nothing was seen."""
        self.behaviour = Behaviour()
        self.seen.clear()
        self.draws_stopped.clear()
        self._begun_draws = 0

    def asked(self, path: str) -> list[Seen]:
        """The requests that came to a path."""
        return [each for each in self.seen if each.path == path]

    def app(self) -> ASGIApp:
        """The server."""
        ready = Route("/readyz", self._ready)
        return Starlette(
            routes=[
                Mount(
                    "/safety",
                    routes=[
                        ready,
                        Route("/describe", self._describe_safety),
                        self._route("/check_prompt"),
                        self._route("/check_images"),
                        *SAFETY_OF_CLIPS,
                    ],
                ),
                Mount(
                    "/text-to-image",
                    routes=[
                        ready,
                        Route("/describe", self._describe),
                        self._route("/draw"),
                        self._route("/read_prompt"),
                        self._route("/loras", "GET"),
                    ],
                ),
                Mount("/animation", routes=[ready, *animation(lambda: self._must_wait(0))]),
                Mount(
                    "/curation",
                    routes=[
                        ready,
                        Route("/describe", self._describe_curation),
                        self._route("/judge"),
                        self._route("/open"),
                        self._route("/publish"),
                        self._route("/check_provenance"),
                        *CURATION_OF_CLIPS,
                    ],
                ),
            ]
        )

    def _route(self, path: str, method: str = "POST") -> Route:
        handle = getattr(self, "_" + path[1:])

        async def endpoint(request: Request) -> Response:
            seen = Seen(path, dict(request.headers))
            self.seen.append(seen)
            if path in self.behaviour.answers:
                return _response(self.behaviour.answers[path]())
            try:
                answer: Response = await handle(request, seen)
            except ClientDisconnect:
                return Response()  # to nobody
            answer.headers["bowerbird-service"] = "safety/9.9" if path == "/check_prompt" else f"{path[1:]}/9.9"
            return answer

        return Route(path, endpoint, methods=[method])

    async def _describe(self, _: Request) -> Response:
        if "/describe" in self.behaviour.answers:
            return _response(self.behaviour.answers["/describe"]())
        return JSONResponse(self.behaviour.described.model_dump())

    async def _describe_safety(self, _: Request) -> Response:
        said = self.behaviour.safety
        return Response(status_code=404) if said is None else JSONResponse(said.model_dump())

    async def _describe_curation(self, _: Request) -> Response:
        self.descriptions += 1
        return JSONResponse(self.behaviour.curation.model_dump())

    async def _ready(self, _: Request) -> Response:
        ready = self.behaviour.answers.get("/readyz", Response)
        return _response(ready())

    async def _check_prompt(self, request: Request, seen: Seen) -> Response:
        seen.asked = PromptCheck.model_validate_json(await request.body())
        return JSONResponse(self.behaviour.decide(seen.asked).model_dump())

    async def _read_prompt(self, request: Request, seen: Seen) -> Response:
        seen.asked = PromptReading.model_validate_json(await request.body())
        return Response()

    async def _draw(self, request: Request, seen: Seen) -> Response:
        if request.headers["content-type"].startswith("multipart/"):
            seen.asked, seen.frames = await _received(request, DrawRequest)
        else:
            seen.asked = DrawRequest.model_validate_json(await request.body())
        return StreamingResponse(self._drawing(seen.asked), media_type=CONTENT_TYPE)

    def _must_wait(self, number: int) -> bool:
        until, finished = self.behaviour.until_frames, self.behaviour.finished_draws
        return (until is not None and not until.is_set()) or (finished is not None and number > finished)

    async def _drawing(self, asked: DrawRequest) -> AsyncIterator[bytes]:
        finished = False
        self._begun_draws += 1
        number = self._begun_draws
        try:
            steps = range(asked.preview_steps, asked.steps, asked.preview_steps) if asked.preview_steps else range(0)
            for step in steps[: asked.max_previews]:
                facts = PreviewFacts(index=0, step=step, steps=asked.steps, digest=self.behaviour.preview_digest)
                yield part(Kind.PREVIEW, preview(asked.seed, step), facts)
            for step in range(self.behaviour.told_steps + 1):
                yield part(Kind.PROGRESS, DrawProgress(step=step, steps=asked.steps, finished=0, count=asked.count))
            while self._must_wait(number):  # noqa: ASYNC110 - a test's
                await asyncio.sleep(0.005)
            for index in reversed(range(asked.count)):
                for step in range(asked.steps if self.behaviour.seconds_per_step else 1):
                    await asyncio.sleep(self.behaviour.seconds_per_step)
                    yield part(Kind.PROGRESS, DrawProgress(step=step, steps=asked.steps, finished=0, count=asked.count))
                raw = frame(asked.seed + index, self.behaviour.frame_bytes)
                yield part(Kind.FRAMES, raw, FrameFacts(index=index, seed=seed_of(asked.seed, index)))
                if self.behaviour.after_frames is not None:
                    yield self.behaviour.after_frames()
                    return
            done = DrawDone(
                model=self.behaviour.described.name,
                digest=self.behaviour.drawn_digest,
                seeds=[seed_of(asked.seed, index) for index in range(asked.count)],
                seconds={"denoise": 0.5},
                steps_computed=asked.steps * asked.count,
                loras={each.id: LORA.digest for each in asked.lora},
            )
            yield part(Kind.DONE, done) + END_OF_STREAM
            finished = True
        finally:
            if not finished:
                self.draws_stopped.set()

    async def _loras(self, _: Request, seen: Seen) -> Response:
        catalogue = LoraCatalogue(loras=[LORA], refused={"broken.safetensors": "rank 128 is above 64"})
        return Response(catalogue.model_dump_json(), media_type="application/json")

    async def _judge(self, request: Request, seen: Seen) -> Response:
        seen.asked, seen.frames = await _received(request, JudgeRequest)
        return Response(self.behaviour.judge(seen.asked).model_dump_json(), media_type="application/json")

    async def _check_images(self, request: Request, seen: Seen) -> Response:
        seen.asked, seen.frames = await _received(request, ImageCheck)
        return JSONResponse(self.behaviour.verdicts(seen.asked.count).model_dump())

    async def _publish(self, request: Request, seen: Seen) -> Response:
        seen.asked, seen.frames, seen.files = await _received_with_files(request, PublishRequest)
        stream = b""
        for index, raw in enumerate(seen.frames):
            picture = self.behaviour.published(
                Picture(
                    index=index,
                    media_type=f"image/{seen.asked.format}",
                    digest=f"sha256:{hashlib.sha256(raw).hexdigest()}",
                    manifest_bytes=1,
                    encode_ms=1,
                    sign_ms=1,
                )
            )
            stream += part(Kind.PICTURE, raw, picture)
        done = PublishDone(count=len(seen.frames), curation=self.behaviour.published_by)
        return Response(stream + part(Kind.DONE, done) + END_OF_STREAM, media_type=CONTENT_TYPE)

    async def _open(self, request: Request, seen: Seen) -> Response:
        seen.asked, seen.frames, seen.files = await _received_with_files(request, OpenRequest)
        frames = [b"frame of " + file for file in seen.files] + [b"hole"] * self.behaviour.transparent
        done = OpenDone(media_type="image/png", masked=len(frames) > 1)
        stream = b"".join(part(Kind.FRAMES, frame) for frame in frames) + part(Kind.DONE, done) + END_OF_STREAM
        return Response(stream, media_type=CONTENT_TYPE)

    async def _check_provenance(self, request: Request, seen: Seen) -> Response:
        seen.asked = await request.body()
        return JSONResponse(self.behaviour.report.model_dump())


def frame(seed: int, size: int) -> bytes:
    """Bytes that stand for the pixels of a seed; the gateway must not look into them."""
    return hashlib.sha256(str(seed).encode()).digest() * (size // 32)


def preview(seed: int, step: int) -> bytes:
    """Bytes that stand for what a picture is after a step."""
    return hashlib.sha256(f"{seed} after {step}".encode()).digest()


def stated(error: BowerbirdError) -> bytes:
    """An error as the last part of a stream."""
    return error_part(error_body(error)) + END_OF_STREAM


@contextmanager
def served(app: ASGIApp, **options: Any) -> Iterator[str]:
    """An app behind a real socket, in a thread of its own, with uvicorn's `options`; yields its URL."""
    listener = socket.create_server(("127.0.0.1", 0))
    quiet: dict[str, Any] = {"log_config": None, "access_log": False, "timeout_graceful_shutdown": 1}
    server = uvicorn.Server(uvicorn.Config(app, **(quiet | options)))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.005)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


async def _received(request: Request, contract: Any) -> tuple[Any, list[bytes]]:
    asked, frames, files = await _received_with_files(request, contract)
    assert not files
    return asked, frames


async def _received_with_files(request: Request, contract: Any) -> tuple[Any, list[bytes], list[bytes]]:
    parts: list[Part] = [each async for each in read_parts(request.stream())]
    files = [each.body for each in parts if each.kind is Kind.FILE]
    frames = [each.body for each in parts if each.kind is Kind.FRAMES]
    kinds = [Kind.REQUEST, *[Kind.FILE] * len(files), *[Kind.FRAMES] * len(frames)]
    assert [each.kind for each in parts] == kinds
    return parts[0].read(contract), frames, files


def _response(answer: Response | BowerbirdError) -> Response:
    if isinstance(answer, BowerbirdError):
        retry = answer.retry_after_seconds
        return JSONResponse(error_body(answer), answer.status, {} if retry is None else {"Retry-After": str(retry)})
    return answer
