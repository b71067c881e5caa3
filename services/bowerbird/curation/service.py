"""The curation service: `bentoml serve bowerbird.curation.service:Curation`.

    GET  /describe          CurationDescription
    POST /judge             parts: JudgeRequest, frames…    -> Judgement
    POST /open              parts: OpenRequest, file(s)     -> parts: frames…, done
    POST /publish           parts: PublishRequest, frames…  -> parts: picture…, done | error
    POST /judge_clips     parts: JudgeClips, frames…        -> ClipJudgement
    POST /publish_clip    parts: PublishClip, frames…       -> parts: picture, done | error
    POST /check_provenance  a file's bytes                  -> ProvenanceReport

Called by the gateway. It is ready when the judge's digests were checked and a frame of its own was judged, signed and
read back: a certificate that cannot sign stops the start, not the first request, and that one is not slow either. One
that replaces it signs from the next request on, if it can. Work on pixels runs in threads; a frame is worked on while
the next one still arrives.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import bentoml
from opentelemetry import trace
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bowerbird import __version__
from bowerbird.arrival import begin, clips_in, file_in, frames_in, give_up, one_frame, receive, start_each
from bowerbird.contracts import (
    CurationDescription,
    JudgeClips,
    JudgeRequest,
    OpenDone,
    OpenRequest,
    PublishClip,
    PublishDone,
    PublishRequest,
    Score,
)
from bowerbird.curation.metrics import SCORES
from bowerbird.deadline import Deadline
from bowerbird.errors import BodyTooLarge, RequestInvalid
from bowerbird.frames import npy
from bowerbird.parts import Kind, part
from bowerbird.settings import Settings
from bowerbird.worker import DRAIN_NOTICE_SECONDS, WORKER_OPTIONS, PartsResponse, create_worker_app

if TYPE_CHECKING:
    from bowerbird.contracts import Picture
    from bowerbird.curation.clips.judging import ClipLook
    from bowerbird.curation.credentials import Credentials
    from bowerbird.curation.judging import Look
    from bowerbird.curation.opening import Opened
    from bowerbird.curation.prompt_match import PromptMatch
    from bowerbird.curation.publishing import Publisher
    from bowerbird.curation.species_check import SpeciesJudge

DEFAULT_DEADLINE_SECONDS = 60.0

Given = ParamSpec("Given")
Result = TypeVar("Result")

logger = logging.getLogger(__name__)
tracer = trace.get_tracer("bowerbird.curation")


async def describe(request: Request) -> Response:
    """What it chooses by and signs with."""
    return Response(_description(request, _credentials(request)).model_dump_json(), media_type="application/json")


async def judge(request: Request) -> Response:
    """Scores every frame on arrival, ranks the candidates of each image at the end."""
    from bowerbird.curation.judging import Judging

    async with _deadline(request).within("curation"):
        wanted, frames = await receive(request, JudgeRequest)
        state = request.app.state
        judging = await _in_thread(request, Judging, state.prompt_match, wanted, state.species)

        def look_at(index: int, raw: bytes) -> Look:
            with tracer.start_as_current_span("judge.score", attributes={"bowerbird.frame": index}) as span:
                look = judging.look_at(index, one_frame(raw, index))
                _tell(span, judging.scores(look))
                return look

        tasks = await start_each(
            frames, wanted.images * wanted.candidates, lambda index, raw: _in_thread(request, look_at, index, raw)
        )
        try:
            judgement = judging.conclude([await task for task in tasks])
        finally:
            await give_up(tasks)
    return Response(judgement.model_dump_json(), media_type="application/json")


async def open_file(request: Request) -> Response:
    """A stranger's file as frames; nothing of it is kept."""
    from bowerbird.curation.opening import open_original

    async with _deadline(request).within("curation"):
        wanted, parts = await begin(request, OpenRequest)
        content = await file_in(parts)
        mask = await file_in(parts) if wanted.masked else None
        opened = await _in_thread(request, open_original, content, mask, wanted.size, _credentials(request))
    return PartsResponse(_frames(opened))


async def publish(request: Request) -> Response:
    """Encodes, labels and signs every frame on arrival; streams the finished files in their order."""
    from bowerbird.curation.credentials import Ingredient
    from bowerbird.curation.manifest import ORIGINAL

    deadline = _deadline(request)
    async with deadline.within("curation"):
        wanted, parts = await begin(request, PublishRequest)
        original = None if wanted.source is None else Ingredient(ORIGINAL, wanted.source, await file_in(parts))
        if len(wanted.origin.seed_digests) != wanted.count:
            raise RequestInvalid("One seed digest is needed for each frame.", param="origin.seed_digests")
        credentials = _credentials(request)
        publisher: Publisher = request.app.state.publisher(credentials)

        def finish(index: int, raw: bytes) -> tuple[Picture, bytes]:
            return publisher.publish(index, one_frame(raw, index)[0], wanted, original)

        frames = frames_in(parts)
        tasks = await start_each(frames, wanted.count, lambda index, raw: _in_thread(request, finish, index, raw))
    return PartsResponse(_pictures(tasks, deadline, _description(request, credentials)))


async def judge_clips(request: Request) -> Response:
    """Scores every clip as soon as its last frame is there, and ranks them at the end; holds one at a time."""
    from bowerbird.curation.clips.judging import ClipJudging

    async with _deadline(request).within("curation"):
        wanted, frames = await receive(request, JudgeClips)
        judging = await _in_thread(request, ClipJudging, request.app.state.prompt_match, wanted)
        looks: list[ClipLook] = []
        async for clip in clips_in(frames, wanted.clips, wanted.frames):
            with tracer.start_as_current_span("judge.score", attributes={"bowerbird.clip": len(looks)}) as span:
                looks.append(await _in_thread(request, judging.look_at, len(looks), clip))
                _tell(span, judging.scores(looks[-1]))
    return Response(judging.conclude(looks).model_dump_json(), media_type="application/json")


async def publish_clip(request: Request) -> Response:
    """Encodes, labels and signs one clip."""
    from bowerbird.curation.clips.publishing import publish_clip
    from bowerbird.curation.credentials import Ingredient
    from bowerbird.curation.manifest import ORIGINAL

    async with _deadline(request).within("curation"):
        wanted, parts = await begin(request, PublishClip)
        original = None if wanted.source is None else Ingredient(ORIGINAL, wanted.source, await file_in(parts))
        if len(wanted.origin.seed_digests) != 1:
            raise RequestInvalid("A clip has one seed digest.", param="origin.seed_digests")
        [clip] = [each async for each in clips_in(frames_in(parts), 1, wanted.frames)]
        credentials = _credentials(request)
        publisher: Publisher = request.app.state.publisher(credentials)
        facts, content = await _in_thread(request, publish_clip, publisher, clip, wanted, original)
    return PartsResponse(_clip(facts, content, _description(request, credentials)))


async def check_provenance(request: Request) -> Response:
    """What an upload proves about its origin; nothing of it is kept."""
    from bowerbird.curation.provenance import MAX_UPLOAD_BYTES, check

    async with _deadline(request).within("curation"):
        content = bytearray()
        async for chunk in request.stream():
            content += chunk
            if len(content) > MAX_UPLOAD_BYTES:
                raise BodyTooLarge(f"The file is larger than the {MAX_UPLOAD_BYTES} bytes accepted.", param="file")
        report = await _in_thread(request, check, bytes(content), _credentials(request))
    return Response(report.model_dump_json(), media_type="application/json")


async def _frames(opened: Opened) -> AsyncIterator[bytes]:
    for pixels in (opened.pixels, opened.mask):
        if pixels is not None:
            yield part(Kind.FRAMES, npy(pixels[None]))
    yield part(Kind.DONE, OpenDone(media_type=opened.media_type, masked=opened.mask is not None))


async def _clip(facts: Picture, content: bytes, description: CurationDescription) -> AsyncIterator[bytes]:
    yield part(Kind.PICTURE, content, facts)
    yield part(Kind.DONE, PublishDone(count=1, curation=description))


async def _pictures(
    tasks: list[asyncio.Task[tuple[Picture, bytes]]], deadline: Deadline, description: CurationDescription
) -> AsyncIterator[bytes]:
    try:
        for task in tasks:
            # Not around the whole loop: a timeout must not be open while a generator waits for its reader.
            async with deadline.within("curation"):
                facts, content = await task
            yield part(Kind.PICTURE, content, facts)
        yield part(Kind.DONE, PublishDone(count=len(tasks), curation=description))
    finally:
        await give_up(tasks)


def _credentials(request: Request) -> Credentials:
    """Those of now, for all of one request: what signs a picture reads it back."""
    credentials: Credentials = request.app.state.credentials()
    return credentials


def _description(request: Request, credentials: Credentials) -> CurationDescription:
    """What this service is with these credentials."""
    state = request.app.state
    return CurationDescription(
        version=__version__,
        judge=state.prompt_match.name,
        certificate=credentials.certificate,
        species=state.species.known.reference,
    )


def _deadline(request: Request) -> Deadline:
    return Deadline.from_headers(request.headers, DEFAULT_DEADLINE_SECONDS)


async def _in_thread(
    request: Request, work: Callable[Given, Result], *given: Given.args, **named: Given.kwargs
) -> Result:
    """Runs `work` in the service's threads, as part of the current trace."""
    context = contextvars.copy_context()
    threads: ThreadPoolExecutor = request.app.state.threads
    return await asyncio.get_running_loop().run_in_executor(threads, lambda: context.run(work, *given, **named))


def _tell(span: trace.Span, scores: list[Score]) -> None:
    """Scores as metrics and as OpenTelemetry's evaluation events; a score's name is one of a fixed few."""
    for score in scores:
        SCORES.labels(score.name).observe(score.value)
        span.add_event(
            "gen_ai.evaluation.result",
            {"gen_ai.evaluation.name": score.name, "gen_ai.evaluation.score.value": score.value},
        )


def equip(
    app: Starlette,
    prompt_match: PromptMatch,
    species: SpeciesJudge,
    credentials: Callable[[], Credentials],
    threads: int = 0,
) -> None:
    """Hands the app what its handlers need; `threads` 0 means one for each core this process may use.

    `credentials` gives those of now, once for each request.
    """
    from bowerbird.curation.publishing import Publisher

    app.state.prompt_match = prompt_match
    app.state.species = species
    app.state.credentials = credentials
    app.state.publisher = Publisher
    app.state.threads = ThreadPoolExecutor(threads or len(os.sched_getaffinity(0)), thread_name_prefix="curation")


def routes() -> list[Route]:
    """What the service answers."""
    return [
        Route("/describe", describe, methods=["GET"]),
        Route("/judge", judge, methods=["POST"]),
        Route("/open", open_file, methods=["POST"]),
        Route("/publish", publish, methods=["POST"]),
        Route("/judge_clips", judge_clips, methods=["POST"]),
        Route("/publish_clip", publish_clip, methods=["POST"]),
        Route("/check_provenance", check_provenance, methods=["POST"]),
    ]


app = create_worker_app("curation", routes(), drain_notice_seconds=DRAIN_NOTICE_SECONDS)


@bentoml.service(name="curation", **WORKER_OPTIONS)
@bentoml.asgi_app(app, path="/")
class Curation:
    """Loads the judge and the certificate; a failure of either stops the start and names the file."""

    def __init__(self) -> None:
        from bowerbird.curation.encoder import open_judge
        from bowerbird.curation.judging import rehearse
        from bowerbird.curation.provenance import check
        from bowerbird.curation.publishing import follow_credentials
        from bowerbird.curation.species_check import SpeciesJudge, read_species
        from bowerbird.engine.backends.cpu import CpuBackend

        settings = Settings()
        backend = CpuBackend(threads=1, cache=settings.cache or settings.home / "cache")
        prompt_match = open_judge(settings.judge, backend)
        species = SpeciesJudge(prompt_match, read_species(settings.judge_species))
        credentials = follow_credentials(settings)
        rehearse(prompt_match, species)
        check(b"GIF89a", credentials())
        equip(app, prompt_match, species, credentials, settings.threads)
        facts = {"judge": prompt_match.name, "species": species.known.reference}
        logger.info("ready", extra={**facts, "certificate": credentials().certificate})
