"""A job as the API shows it, and its result: pictures from the store in the answer that was written when it ended."""

from __future__ import annotations

import asyncio
import hashlib
import json
from datetime import UTC, datetime
from typing import Any, Literal

import pybase64
from pydantic import Field
from starlette.responses import Response

from bowerbird.contracts import WorkClass
from bowerbird.errors import BowerbirdError, JobCancelled, JobExpired, JobUnfinished, PictureLost, error_from_body
from bowerbird.gateway.api.body import ResponseBody
from bowerbird.gateway.api.job_place import Whereabouts
from bowerbird.gateway.clips.endpoints import CHAIN as CLIP_CHAIN
from bowerbird.gateway.demand.waking import CHAIN
from bowerbird.gateway.gateway import Gateway
from bowerbird.gateway.jobs.request import JobResult
from bowerbird.gateway.records.job import Job, JobKind, JobState, StoredPicture

RETRY_AFTER_SECONDS = 2
UNFINISHED = (JobState.QUEUED, JobState.RUNNING)


class JobBody(ResponseBody):
    """A job: what was accepted, and how far it is."""

    id: str
    object: Literal["job"] = "job"
    status: JobState
    created_at: int = Field(description="Unix seconds.")
    expires_at: int = Field(description="Unix seconds; when it is not finished by then, it will not be.")
    finished_at: int | None = Field(description="Unix seconds.")
    work_class: WorkClass
    compute_units: float = Field(description="What it costs, as predicted when it was accepted.")
    attempts: int = Field(description="How often it was begun.")
    phase: str | None = Field(
        description="The stage that it is in, or `waiting`, while it runs. In a list: of jobs that the replica carries "
        "which is asked."
    )
    reason: str | None = Field(
        description="What keeps a stage that it needs from waking, in Kubernetes' words; known by the replica that "
        "carried it last."
    )
    position: int | None = Field(
        description="Its place in the queue, among all that waits at any replica; 1 is next. Null when it has left "
        "the queue: it is drawn. In a list: as `phase`."
    )
    eta_seconds: float | None = Field(
        description="Until it leaves the queue, as predicted now; null while nothing that could draw it is ready."
    )
    error: dict[str, Any] | None = Field(
        description="Why it failed, in the shape of every error. `job_quarantined` has the last failure's code as "
        "`reason`: that of a drawing, or `computing_too_long`."
    )


def job_body(job: Job, where: Whereabouts, gateway: Gateway) -> JobBody:
    """The job and where it is."""
    place = where.place
    return JobBody(
        id=job.id,
        status=job.state,
        created_at=job.created_ms // 1000,
        expires_at=job.expires_ms // 1000,
        finished_at=None if job.finished_ms is None else job.finished_ms // 1000,
        work_class=job.work_class,
        compute_units=job.cost,
        attempts=job.attempts,
        phase=where.phase,
        reason=_reason(job, gateway) if job.state in UNFINISHED else None,
        position=place.position if place else None,
        eta_seconds=place.eta_seconds if place else None,
        error=None if job.error is None else json.loads(job.error)["error"],
    )


def _reason(job: Job, gateway: Gateway) -> str | None:
    return gateway.demand.waking.reason(CLIP_CHAIN if JobKind.of(job.id) is JobKind.CLIP else CHAIN)


async def result_response(job: Job, gateway: Gateway) -> Response:
    """The answer of a finished job.

    Raises what it failed with, JobUnfinished, JobCancelled, JobExpired, JobUnknown where it was removed since it was
    looked up, or PictureLost.
    """
    if job.state is not JobState.SUCCEEDED or job.result is None:
        raise no_result(job)
    result = JobResult.model_validate_json(job.result)
    pictures = await read_pictures(job, len(result.body["data"]), gateway)
    for image, (_, body) in zip(result.body["data"], pictures, strict=True):
        image["b64_json"] = pybase64.b64encode_as_string(body)
    headers = {**result.headers, "Location": job_path(job.id)}
    return Response(json.dumps(result.body), 200, headers, "application/json")


def job_path(job_id: str) -> str:
    """Where a job is found."""
    return f"/v1/jobs/{job_id}"


def no_result(job: Job) -> BowerbirdError:
    """Why a job has no result: what it failed with, or that it was cancelled, expired, or is not finished yet."""
    if job.state is JobState.FAILED:
        body = json.loads(job.error or "{}")
        return error_from_body(None, body) or BowerbirdError("The job failed.")
    if job.state is JobState.CANCELLED:
        return JobCancelled("The job was cancelled: it has no result.", param="id")
    if job.state is JobState.EXPIRED:
        ended = datetime.fromtimestamp(job.expires_ms / 1000, UTC).isoformat(timespec="seconds")
        return JobExpired(f"The job was not finished by {ended} and will not be.", param="id")
    fact = f"The job is {job.state}: its result is not there yet; try again in {RETRY_AFTER_SECONDS} s."
    return JobUnfinished(fact, param="id", retry_after_seconds=RETRY_AFTER_SECONDS, details={"state": job.state})


async def read_pictures(job: Job, count: int, gateway: Gateway) -> list[tuple[StoredPicture, bytes]]:
    """The pictures of a job that succeeded, with their bytes, which are those that were stored.

    Raises JobUnknown where it was removed since it was looked up, or PictureLost.
    """
    try:
        pictures = await gateway.records.jobs.pictures(job.id)
        if len(pictures) != count:
            raise PictureLost(f"{count} pictures were stored, {len(pictures)} are there.")
        bodies = await asyncio.gather(*(_read(picture, gateway) for picture in pictures))
    except PictureLost:
        await gateway.records.jobs.get(job.tenant, job.id)  # its row goes before its pictures
        raise
    return list(zip(pictures, bodies, strict=True))


async def _read(picture: StoredPicture, gateway: Gateway) -> bytes:
    body = await gateway.records.pictures.get(picture.key)
    if f"sha256:{hashlib.sha256(body).hexdigest()}" != picture.digest:
        raise PictureLost("A stored picture is not the one that was stored.")
    return body
