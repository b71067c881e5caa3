"""A clip as `/v1/videos` shows it: OpenAI's `Video`, with ours under `bowerbird`."""

from __future__ import annotations

import json
from typing import Literal

from pydantic import Field

from bowerbird.contracts import MAX_CLIP_FRAMES, MAX_FRAMES_PER_SECOND, ClipFormat
from bowerbird.errors import BowerbirdError, JobCancelled, JobExpired
from bowerbird.gateway.api.body import ResponseBody
from bowerbird.gateway.api.image_drawing import GenerationFacts
from bowerbird.gateway.api.job_body import no_result
from bowerbird.gateway.clips.progress import per_cent
from bowerbird.gateway.clips.request import ClipRequest
from bowerbird.gateway.gateway import Gateway
from bowerbird.gateway.jobs.request import JobResult, read_job_request
from bowerbird.gateway.records.job import Job, JobState

STATUS: dict[JobState, Literal["queued", "in_progress", "completed", "failed"]] = {
    JobState.QUEUED: "queued",
    JobState.RUNNING: "in_progress",
    JobState.SUCCEEDED: "completed",
    JobState.FAILED: "failed",
    JobState.CANCELLED: "failed",
    JobState.EXPIRED: "failed",
}
DONE = 100


class VideoError(ResponseBody):
    """Why there is no clip."""

    code: str
    message: str
    type: str | None = None
    param: str | None = None


class VideoForm(ResponseBody):
    """What was asked for and OpenAI's shape has no word for, and how the clip came to be once it is there."""

    format: ClipFormat = Field(description="How it is encoded.", examples=["mp4"])
    fps: float = Field(ge=1, le=MAX_FRAMES_PER_SECOND, description="Frames a second.", examples=[24.0])
    frames: int = Field(ge=1, le=MAX_CLIP_FRAMES, description="It has so many frames.", examples=[72])
    loop: bool = Field(description="Whether the last frame goes over into the first.", examples=[False])
    strength: float | None = Field(
        gt=0,
        le=1,
        description="How far it may go from the picture that it begins with; null: it begins with noise.",
        examples=[None],
    )
    facts: GenerationFacts | None = Field(description="How it came to be; null until it is completed.")


class Video(ResponseBody):
    """A clip: how far it is, and what it is."""

    id: str
    object: Literal["video"] = "video"
    status: Literal["queued", "in_progress", "completed", "failed"]
    progress: int = Field(ge=0, le=DONE, description="How much is done, in percent.", examples=[40])
    created_at: int
    completed_at: int | None = Field(description="Unix seconds when it was completed; null: it is not.")
    expires_at: int | None = Field(
        description="Unix seconds until which the file is kept once it is completed; null before that."
    )
    model: str
    prompt: str = Field(
        description="What is drawn: the prompt as safety let it through.", examples=["a cardinal taking off, winter"]
    )
    seconds: str = Field(description="How long it is, as text.", examples=["3"])
    size: str
    error: VideoError | None = Field(description="Why it failed, was cancelled or expired; else null.")
    remixed_from_video_id: None = Field(default=None, description="Always null.")
    bowerbird: VideoForm


class VideoList(ResponseBody):
    """Clips of the caller's tenant."""

    object: Literal["list"] = "list"
    data: list[Video]
    has_more: bool
    first_id: str | None
    last_id: str | None


class VideoDeleted(ResponseBody):
    """The clip is gone; if it was still drawn, that has ended."""

    id: str
    object: Literal["video.deleted"] = "video.deleted"
    deleted: Literal[True] = True


async def video_of(job: Job, gateway: Gateway) -> Video:
    """The clip of a job, as this replica knows it."""
    asked = read_job_request(job.request).asked
    assert isinstance(asked, ClipRequest)  # noqa: S101 - its id says so
    facts = None
    if job.result is not None:
        facts = GenerationFacts.model_validate(JobResult.model_validate_json(job.result).body["bowerbird"])
    known = gateway.animators.known_model
    succeeded = job.state is JobState.SUCCEEDED and job.finished_ms is not None
    finished_seconds = (job.finished_ms or 0) // 1000
    return Video(
        id=job.id,
        status=STATUS[job.state],
        progress=await _progress(job, gateway),
        created_at=job.created_ms // 1000,
        completed_at=finished_seconds if succeeded else None,
        expires_at=round(finished_seconds + gateway.settings.job_retention_seconds) if succeeded else None,
        model=facts.model if facts else asked.model or (known.name if known else "unknown"),
        prompt=asked.prompt,
        seconds=f"{asked.frames / asked.frames_per_second:.3f}".rstrip("0").rstrip("."),
        size=asked.size,
        error=_error(job),
        bowerbird=VideoForm(
            format=asked.format,
            fps=asked.frames_per_second,
            frames=asked.frames,
            loop=asked.loop,
            strength=None if asked.beginning is None else asked.beginning.strength,
            facts=facts,
        ),
    )


async def _progress(job: Job, gateway: Gateway) -> int:
    """In per cent: of one that another replica carries, as its events tell."""
    if job.state is JobState.SUCCEEDED:
        return DONE
    if job.state is not JobState.RUNNING:
        return 0
    progress = gateway.jobs.carrier.progress(job.id)
    phase = progress.phase if progress else await gateway.records.events.last_phase(job.id)
    return per_cent(phase or "")


def _error(job: Job) -> VideoError | None:
    if job.state is JobState.FAILED and job.error is not None:
        facts = json.loads(job.error)["error"]
        return VideoError(code=facts["code"], message=facts["message"], type=facts["type"], param=facts["param"])
    if job.state not in (JobState.FAILED, JobState.CANCELLED, JobState.EXPIRED):
        return None
    error: BowerbirdError = no_result(job)
    assert isinstance(error, JobCancelled | JobExpired)  # noqa: S101 - what is left
    return VideoError(code=error.code, message=error.message, type=error.type, param=None)
