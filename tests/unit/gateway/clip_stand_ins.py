"""Stand-ins for what animation, safety and curation do with clips: they behave, and a clip is a few bytes."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from bowerbird.contracts import (
    Action,
    AnimateRequest,
    ClipCheck,
    ClipDecisions,
    ClipJudgement,
    ClipScores,
    ClipVerdict,
    DrawDone,
    DrawProgress,
    FrameFacts,
    JudgeClips,
    MotionDescription,
    Picture,
    PublishClip,
    PublishDone,
    Ranking,
    seed_of,
)
from bowerbird.parts import CONTENT_TYPE, END_OF_STREAM, Kind, Part, part, read_parts

from .stand_in_answers import CURATION, MODEL, POLICY

MOTION = MotionDescription(
    **MODEL.model_dump(), window=16, overlap=4, max_frames=120, frames_per_second=8, begins="may"
)


def clip_frame(seed: int, index: int, begins_with: bytes = b"") -> bytes:
    """Bytes that stand for one frame of a clip, and for the picture that it begins with."""
    return hashlib.sha256(f"{seed} {index}".encode()).digest() + begins_with


async def _describe(_: Request) -> Response:
    return JSONResponse(MOTION.model_dump())


async def _animate(request: Request, held: Callable[[], bool]) -> Response:
    begins_with: list[bytes] = []
    if request.headers["content-type"].startswith("multipart/"):
        first, *pictures = await _parts(request)
        asked, begins_with = first.read(AnimateRequest), [each.body for each in pictures]
    else:
        asked = AnimateRequest.model_validate_json(await request.body())
    assert len(begins_with) == (asked.beginning is not None)
    return StreamingResponse(_clips(asked, b"".join(begins_with), held), media_type=CONTENT_TYPE)


async def _clips(asked: AnimateRequest, begins_with: bytes, held: Callable[[], bool]) -> AsyncIterator[bytes]:
    yield part(Kind.PROGRESS, DrawProgress(step=0, steps=asked.steps, finished=0, count=asked.count * asked.frames))
    while held():  # noqa: ASYNC110 - a test's
        await asyncio.sleep(0.005)
    for index in range(asked.count * asked.frames):
        seed = seed_of(asked.seed, index // asked.frames)
        raw = clip_frame(seed, index, begins_with)
        yield part(Kind.FRAMES, raw, FrameFacts(index=index, seed=seed))
    seeds = [seed_of(asked.seed, clip) for clip in range(asked.count)]
    done = DrawDone(model=MOTION.name, digest=MOTION.digest, seeds=seeds, seconds={"denoise": 0.5}, steps_computed=1)
    yield part(Kind.DONE, done) + END_OF_STREAM


async def _check(request: Request) -> Response:
    asked = (await _parts(request))[0].read(ClipCheck)
    verdicts = [
        ClipVerdict(index=clip, action=Action.ALLOW, reasons=[], category_scores={}, gates=[], looked_at=[0])
        for clip in range(asked.clips)
    ]
    return JSONResponse(ClipDecisions(id="dec_3", verdicts=verdicts, policy=POLICY, latency_ms=1).model_dump())


async def _judge(request: Request) -> Response:
    asked = (await _parts(request))[0].read(JudgeClips)
    clips = [ClipScores(index=clip, scores=[], total=float(clip)) for clip in range(asked.clips)]
    ranking = Ranking(image=0, order=list(reversed(range(asked.clips))), margin=1, tie=False)
    judgement = ClipJudgement(clips=clips, ranking=ranking, tie_margin=0.1, judge="judge@1")
    return JSONResponse(judgement.model_dump())


async def _publish(request: Request) -> Response:
    first, *others = await _parts(request)
    wanted = first.read(PublishClip)
    kinds = [Kind.FILE] * (wanted.source is not None) + [Kind.FRAMES] * wanted.frames
    assert [each.kind for each in others] == kinds
    raw = b"".join(each.body for each in others)
    digest = f"sha256:{hashlib.sha256(raw).hexdigest()}"
    media_type = f"image/{wanted.format}"
    facts = Picture(index=0, media_type=media_type, digest=digest, manifest_bytes=1, encode_ms=1, sign_ms=1)
    done = PublishDone(count=1, curation=CURATION)
    stream = part(Kind.PICTURE, raw, facts) + part(Kind.DONE, done) + END_OF_STREAM
    return Response(stream, media_type=CONTENT_TYPE)


async def _parts(request: Request) -> list[Part]:
    return [each async for each in read_parts(request.stream())]


def animation(held: Callable[[], bool]) -> list[Route]:
    """Animation, whose clips begin when they are not held."""

    async def animate(request: Request) -> Response:
        return await _animate(request, held)

    return [Route("/describe", _describe), Route("/animate", animate, methods=["POST"])]


SAFETY_OF_CLIPS = (Route("/check_clips", _check, methods=["POST"]),)
CURATION_OF_CLIPS = (
    Route("/judge_clips", _judge, methods=["POST"]),
    Route("/publish_clip", _publish, methods=["POST"]),
)
