"""`/v1/videos`: clips, which are jobs, in the shape that OpenAI's client and the open image servers share.

A clip of another tenant is not there (404, not 403). What was accepted is drawn whatever happens to the connection;
`/v1/jobs/{job}` takes a clip's id as well, with its events.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from bowerbird.contracts import ClipFormat
from bowerbird.errors import JobFinished, JobUnknown, RangeUnsatisfiable, RequestInvalid
from bowerbird.gateway.api.accepting import job_of
from bowerbird.gateway.api.arrival import arrive, gateway_of
from bowerbird.gateway.api.body import shown_value
from bowerbird.gateway.api.byte_range import range_of
from bowerbird.gateway.api.clip_drawing import KIND, wanted_clip
from bowerbird.gateway.api.idempotency import read_key
from bowerbird.gateway.api.job_body import RETRY_AFTER_SECONDS, no_result, read_pictures
from bowerbird.gateway.api.paging import ID, LIMIT_SCHEMA, limit_of, text_of
from bowerbird.gateway.api.video_body import VideoDeleted, VideoList, video_of
from bowerbird.gateway.api.video_request import read_video
from bowerbird.gateway.clips.request import ClipRequest
from bowerbird.gateway.gateway import Gateway
from bowerbird.gateway.jobs.request import read_job_request
from bowerbird.gateway.records.job import Job, JobState
from bowerbird.worker import error_response

MEDIA_TYPES = {ClipFormat.MP4: "video/mp4", ClipFormat.WEBP: "image/webp", ClipFormat.GIF: "image/gif"}
VARIANT = "video"

PAGE: Mapping[str, Mapping[str, Any]] = {
    "limit": LIMIT_SCHEMA,
    "after": {"type": "string", "pattern": ID, "description": "`last_id` of the page before."},
    "order": {
        "type": "string",
        "enum": ["asc", "desc"],
        "default": "desc",
        "description": "By `created_at`: oldest or newest first.",
    },
}
CONTENT: Mapping[str, Mapping[str, Any]] = {
    "variant": {"type": "string", "enum": [VARIANT], "default": VARIANT, "description": "The clip itself."}
}


async def create_video(request: Request) -> Response:
    """Accepts a clip: it stands in the database before the client hears of it."""
    gateway, call = arrive(request)
    key = read_key(request)
    async with read_video(request) as asked:
        read = None if asked.picture is None else asked.picture.read
        wanted = partial(wanted_clip, asked.clip(), call, gateway, read)
        job_id = await job_of(request, call, key, asked.as_stated, wanted)
    job = await _clip(gateway, request.state.tenant, job_id)
    return await _answer(job, gateway)


async def list_videos(request: Request) -> Response:
    """A page of clips."""
    gateway = gateway_of(request)
    order = request.query_params.get("order", "desc")
    if order not in ("asc", "desc"):
        raise RequestInvalid(f"order: {shown_value(order)} is not accepted. Accepted: 'asc', 'desc'.", param="order")
    limit, after = limit_of(request), text_of(request, "after")
    try:
        found, more = await gateway.records.jobs.of_kind(
            request.state.tenant, KIND, limit, after, newest_first=order == "desc"
        )
    except JobUnknown as error:
        fact = "after: there is no clip of this id. Accepted: `last_id` of a page."
        raise RequestInvalid(fact, param="after") from error
    body = VideoList(
        data=[await video_of(job, gateway) for job in found],
        has_more=more,
        first_id=found[0].id if found else None,
        last_id=found[-1].id if found else None,
    )
    return Response(body.model_dump_json(), media_type="application/json")


async def get_video(request: Request) -> Response:
    """One clip, and how far it is; `Retry-After` while it is not finished."""
    gateway = gateway_of(request)
    return await _answer(await _asked_for(request), gateway)


async def delete_video(request: Request) -> Response:
    """Ends a clip that is not finished, and forgets it with its file."""
    gateway, tenant = gateway_of(request), request.state.tenant
    job = await _asked_for(request)
    with suppress(JobFinished):
        await gateway.jobs.cancel(tenant, job.id)
    await gateway.records.pictures.delete(await gateway.records.jobs.remove(tenant, job.id))
    return Response(VideoDeleted(id=job.id).model_dump_json(), media_type="application/json")


async def get_video_content(request: Request) -> Response:
    """The file, or the part of it that `Range` asks for."""
    variant = request.query_params.get("variant", VARIANT)
    if variant != VARIANT:
        shown = shown_value(variant)
        raise RequestInvalid(f"variant: {shown} is not accepted. Accepted: '{VARIANT}'.", param="variant")
    gateway, job = gateway_of(request), await _asked_for(request)
    if job.state is not JobState.SUCCEEDED:
        raise no_result(job)
    [(stored, content)] = await read_pictures(job, 1, gateway)
    asked = read_job_request(job.request).asked
    assert isinstance(asked, ClipRequest)  # noqa: S101 - its id says so
    return _content(request, content, MEDIA_TYPES[asked.format], f'"{stored.digest.removeprefix("sha256:")[:32]}"')


def _content(request: Request, content: bytes, media_type: str, entity_tag: str) -> Response:
    headers = {"Accept-Ranges": "bytes", "ETag": entity_tag, "X-Content-Type-Options": "nosniff"}
    stated = request.headers.get("range")
    if request.headers.get("if-range", entity_tag) != entity_tag:
        stated = None  # of another file than this
    try:
        part = range_of(stated, len(content))
    except RangeUnsatisfiable as error:
        request.state.error_code = error.code
        refused = error_response(error)
        refused.headers["Content-Range"] = f"bytes */{len(content)}"
        return refused
    if part is None:
        return Response(content, 200, headers, media_type)
    headers["Content-Range"] = part.content_range
    return Response(content[part.first : part.last + 1], 206, headers, media_type)


async def _answer(job: Job, gateway: Gateway) -> Response:
    headers = {} if job.state.final else {"Retry-After": str(RETRY_AFTER_SECONDS)}
    return Response((await video_of(job, gateway)).model_dump_json(), 200, headers, "application/json")


async def _asked_for(request: Request) -> Job:
    return await _clip(gateway_of(request), request.state.tenant, request.path_params["video"])


async def _clip(gateway: Gateway, tenant: str, video_id: str) -> Job:
    """The job of a clip; a job of pictures is no clip."""
    if not video_id.startswith(f"{KIND}_"):
        raise JobUnknown("There is no clip of this id.", param="id")
    return await gateway.records.jobs.get(tenant, video_id)
