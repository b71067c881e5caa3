"""The route table: every path of the gateway with its handler, its shapes and the errors it answers with.

`app` makes routes of it and `openapi` the document; a route that stands here is served and documented, and nothing else
is. Errors that any request can meet (`EVERYWHERE`) are not repeated at each route.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from bowerbird import errors
from bowerbird.gateway.api import health, images, job_stream, jobs, loras, models, moderations, provenance, usage
from bowerbird.gateway.api.body import MAX_JSON_BYTES
from bowerbird.gateway.api.idempotency import remembered
from bowerbird.gateway.api.image_request import GenerateImages
from bowerbird.gateway.api.job_body import JobBody
from bowerbird.gateway.records.jobs import MAX_PAGE

Handler = Callable[[Request], Awaitable[Response]]

JSON = "application/json"
FORM = "multipart/form-data"
TEXT = "text/plain"

EVERYWHERE = (errors.BowerbirdError,)
WITH_KEY = (errors.KeyInvalid,)
WITH_BODY = (errors.RequestInvalid, errors.FieldUnknown, errors.BodyTooLarge)
WITH_RECORDS = (errors.RecordsUnavailable,)
KEYED = (*WITH_RECORDS, errors.IdempotencyKeyReused)
ENDED_JOB = (errors.JobCancelled, errors.JobExpired, errors.JobQuarantined, errors.PictureLost)
OF_A_JOB = (*WITH_RECORDS, errors.JobUnknown)
UPSTREAM = (errors.StageUnavailable, errors.DeadlineExceeded, errors.StageBroken)


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path."""

    method: str
    path: str
    handler: Handler
    summary: str
    answer: type[BaseModel] | None
    """The body of status 200; None for text."""
    accepted: type[BaseModel] | None = None
    """The body of status 202."""
    facts: tuple[type[errors.BowerbirdError], ...] = ()
    """Errors of its own that it answers with."""
    body: type[BaseModel] | None = None
    body_media_type: str = JSON
    answer_headers: Mapping[str, str] = field(default_factory=dict)
    """Headers of status 200 beyond those of every answer -> what they say."""
    example: Mapping[str, Any] | None = None
    not_modified: str | None = None
    """When the answer is 304; None where it never is."""
    query: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Query parameters, none of them required -> their schema."""
    text_media_type: str = TEXT
    """Of status 200 where `answer` is None."""
    needs_key: bool = True

    @property
    def documented_path(self) -> str:
        """The path as OpenAPI writes it, without Starlette's converters."""
        return self.path.replace(":path}", "}")

    @property
    def all_errors(self) -> tuple[type[errors.BowerbirdError], ...]:
        """Every error this operation can answer with, in the order of their status."""
        kinds = {*EVERYWHERE, *self.facts, *(WITH_KEY if self.needs_key else ())}
        return tuple(sorted(kinds, key=lambda kind: (kind.status, kind.code)))


OPERATIONS = (
    Operation(
        "POST",
        "/v1/images/generations",
        images.generate,
        "Draw pictures of a prompt",
        images.ImagesResponse,
        facts=(
            *WITH_BODY,
            *UPSTREAM,
            errors.PromptRefused,
            errors.CrisisSupport,
            errors.ImageRefused,
            errors.PromptTooLong,
            errors.SizeUnsupported,
            errors.ModelUnknown,
            errors.LoraUnknown,
            errors.LoraInvalid,
            errors.QueueFull,
            errors.TenantQueueFull,
            errors.QueueTimeout,
            errors.DrawingFailed,
            errors.LabelFailed,
            *KEYED,
            *ENDED_JOB,
        ),
        accepted=JobBody,
        body=GenerateImages,
        not_modified="The pictures are those that If-None-Match names.",
        answer_headers={
            "ETag": "names the pictures; send it as If-None-Match to be told that they are still the same",
            "Cache-Status": "RFC 9211: hit, or how the pictures were drawn (fwd=miss, collapsed, fwd=request)",
            "Bowerbird-Model-Digest": "sha256 of the bundle that drew",
            "Bowerbird-Seeds": "the seed of each picture, in order",
            "Bowerbird-Scores": "RFC 9651 list: total of each picture, with its scores as parameters",
            "Server-Timing": "milliseconds by stage and in all; admit waits, judge and check_images begin with draw",
            "RateLimit-Policy": "how many requests and compute units of yours may wait at a time",
            "RateLimit": "how many more of them may",
        },
        example={"prompt": "an american robin perched on a branch in winter", "size": "auto", "seed": 7},
    ),
    Operation(
        "GET",
        "/v1/models",
        models.list_models,
        "List the models that are served",
        models.ModelList,
        facts=(errors.StageUnavailable,),
    ),
    Operation(
        "GET",
        "/v1/models/{model:path}",
        models.get_model,
        "Describe one model and its limits",
        models.Model,
        facts=(errors.StageUnavailable, errors.ModelUnknown),
    ),
    Operation(
        "GET",
        "/v1/loras",
        loras.list_loras,
        "List the LoRAs that a request may name",
        loras.LoraList,
        facts=UPSTREAM,
    ),
    Operation(
        "POST",
        "/v1/moderations",
        remembered(moderations.create_moderation, MAX_JSON_BYTES),
        "Ask safety about texts",
        moderations.Moderations,
        facts=(*WITH_BODY, *UPSTREAM, *KEYED, errors.ModelUnknown),
        body=moderations.CreateModeration,
        example={"input": "an american robin perched on a branch in winter"},
    ),
    Operation(
        "POST",
        "/v1/content_provenance_checks",
        remembered(provenance.check_provenance, provenance.MAX_BODY_BYTES),
        "Ask where a picture comes from",
        provenance.ContentProvenanceCheck,
        facts=(*WITH_BODY, *UPSTREAM, *KEYED),
        body=provenance.CheckProvenance,
        body_media_type=FORM,
    ),
    Operation(
        "GET",
        "/v1/jobs",
        jobs.list_jobs,
        "List jobs, newest first",
        jobs.JobList,
        facts=(*WITH_RECORDS, errors.RequestInvalid),
        query={
            "limit": {"type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": jobs.DEFAULT_PAGE},
            "after": {"type": "string", "description": "`next_cursor` of the page before."},
        },
    ),
    Operation("GET", "/v1/jobs/{job}", jobs.get_job, "See how far a job is", JobBody, facts=OF_A_JOB),
    Operation(
        "DELETE",
        "/v1/jobs/{job}",
        jobs.cancel_job,
        "Cancel a job that is not finished",
        JobBody,
        facts=(*OF_A_JOB, errors.JobFinished),
    ),
    Operation(
        "GET",
        "/v1/jobs/{job}/events",
        job_stream.stream_job_events,
        "Hear what happens to a job, as server-sent events; `Last-Event-ID` resumes",
        None,
        facts=(*OF_A_JOB, errors.RequestInvalid),
        text_media_type="text/event-stream",
    ),
    Operation(
        "GET",
        "/v1/jobs/{job}/result",
        jobs.get_job_result,
        "Get the pictures of a finished job, or the error it failed with",
        images.ImagesResponse,
        facts=(
            *OF_A_JOB,
            *ENDED_JOB,
            errors.JobUnfinished,
            errors.PromptRefused,
            errors.CrisisSupport,
            errors.ImageRefused,
            errors.RequestInvalid,
            errors.ModelUnknown,
        ),
    ),
    Operation(
        "GET",
        "/v1/usage",
        usage.get_usage,
        "See what was drawn, by day, model and variant",
        usage.UsageList,
        facts=(*WITH_RECORDS, errors.RequestInvalid),
        query={
            "first_day": {
                "type": "string",
                "format": "date",
                "description": "UTC; 29 days before `last_day` if absent.",
            },
            "last_day": {"type": "string", "format": "date", "description": "UTC; today if absent."},
        },
    ),
    Operation("GET", "/livez", health.livez, "The process answers", health.Liveness, needs_key=False),
    Operation(
        "GET", "/readyz", health.readyz, "Requests can be held; state of the stages", health.Readiness, needs_key=False
    ),
    Operation("GET", "/metrics", health.metrics, "Prometheus metrics", None, needs_key=False),
)
