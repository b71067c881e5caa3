"""The route table: every path of the gateway with its handler, its shapes and the errors it answers with.

`app` makes routes of it and `openapi` the document; a route that stands here is served and documented, and nothing else
is. Errors that any request can meet (`EVERYWHERE`) are not repeated at each route.
"""

from __future__ import annotations

from bowerbird import errors
from bowerbird.gateway.api import (
    feedback,
    health,
    image_drawing,
    image_stream,
    images,
    job_stream,
    jobs,
    loras,
    models,
    moderations,
    provenance,
    usage,
)
from bowerbird.gateway.api.admin_operations import ADMIN_OPERATIONS
from bowerbird.gateway.api.batch_operations import BATCH_OPERATIONS
from bowerbird.gateway.api.body import MAX_JSON_BYTES
from bowerbird.gateway.api.demand_operations import DEMAND_OPERATIONS
from bowerbird.gateway.api.edit_request import EditForm
from bowerbird.gateway.api.file_operations import FILE_OPERATIONS
from bowerbird.gateway.api.idempotency import remembered
from bowerbird.gateway.api.image_request import GenerateImages
from bowerbird.gateway.api.job_body import JobBody
from bowerbird.gateway.api.operation import (
    ENDED_JOB,
    EVENTS,
    FORM,
    KEYED,
    OF_A_JOB,
    RATE_LIMIT,
    UPSTREAM,
    WITH_BODY,
    WITH_RECORDS,
    Operation,
)
from bowerbird.gateway.api.paging import ID, LIMIT_SCHEMA
from bowerbird.gateway.api.rights_operations import RIGHTS_OPERATIONS
from bowerbird.gateway.api.species_operations import species_operations
from bowerbird.gateway.api.video_operations import VIDEO_OPERATIONS
from bowerbird.gateway.api.webhook_operations import WEBHOOK_OPERATIONS
from bowerbird.gateway.identity.scopes import Scope
from bowerbird.gateway.records.jobs import MAX_PAGE

DRAWS = (
    *WITH_BODY,
    *UPSTREAM,
    errors.PromptRefused,
    errors.CrisisSupport,
    errors.ImageRefused,
    errors.PromptTooLong,
    errors.SizeUnsupported,
    errors.ModelUnknown,
    errors.QueueFull,
    errors.TenantQueueFull,
    errors.TierExceeded,
    errors.QueueTimeout,
    errors.GatewayStopping,
    errors.StageFull,
    errors.DrawingFailed,
    errors.LabelFailed,
)
"""What any drawing may meet."""

DRAWN = {
    "Bowerbird-Model-Digest": "sha256 of the bundle that drew",
    "Bowerbird-Seeds": "the seed of each picture, in order",
    "Bowerbird-Scores": "RFC 9651 list: total of each picture, with its scores as parameters",
    "Server-Timing": "milliseconds by stage and in all; admit waits, judge and check_images begin with draw",
    **RATE_LIMIT,
}
"""Headers of pictures -> what they say."""

CACHED = {
    "ETag": "names the pictures; send it as If-None-Match to be told that they are still the same",
    "Cache-Status": "RFC 9211: hit, or how the pictures were drawn (fwd=miss, collapsed, fwd=request)",
    **DRAWN,
}
"""Headers of pictures that may be stored ones -> what they say."""

OPERATIONS = (
    Operation(
        "POST",
        "/v1/images/generations",
        images.generate,
        "Draw pictures of a prompt",
        image_drawing.ImagesResponse,
        facts=(*DRAWS, errors.LoraUnknown, errors.LoraInvalid, *KEYED, *ENDED_JOB, errors.FeatureUnavailable),
        accepted=JobBody,
        events=(image_stream.PartialImage, image_stream.CompletedImage),
        body=GenerateImages,
        not_modified="The pictures are those that If-None-Match names.",
        answer_headers=CACHED,
        example={"prompt": "an american robin perched on a branch in winter", "size": "auto", "seed": 7},
        scope=Scope.IMAGES_WRITE,
    ),
    Operation(
        "POST",
        "/v1/images/edits",
        images.edit,
        "Draw pictures that begin with a picture",
        image_drawing.ImagesResponse,
        facts=(*DRAWS, *KEYED, *ENDED_JOB, errors.StorageFull),
        accepted=JobBody,
        events=(image_stream.PartialEdit, image_stream.CompletedEdit),
        body=EditForm,
        body_media_type=FORM,
        answer_headers=DRAWN,
        example={"image": "@out/first.png", "prompt": "a blue jay perched on a branch in autumn", "strength": 0.8},
        scope=Scope.IMAGES_WRITE,
    ),
    Operation(
        "GET",
        "/v1/models",
        models.list_models,
        "List the models that are served",
        models.ModelList,
        facts=(errors.StageUnavailable,),
        scope=Scope.MODELS_READ,
    ),
    Operation(
        "GET",
        "/v1/models/{model:path}",
        models.get_model,
        "Describe one model and its limits",
        models.Model,
        facts=(errors.StageUnavailable, errors.ModelUnknown),
        scope=Scope.MODELS_READ,
    ),
    Operation(
        "GET",
        "/v1/loras",
        loras.list_loras,
        "List the LoRAs that a request may name",
        loras.LoraList,
        facts=UPSTREAM,
        scope=Scope.MODELS_READ,
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
        scope=Scope.MODERATIONS_WRITE,
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
        scope=Scope.PROVENANCE_READ,
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
        scope=Scope.JOBS_READ,
    ),
    Operation(
        "GET",
        "/v1/jobs/{job}",
        jobs.get_job,
        "See how far a job is",
        JobBody,
        facts=OF_A_JOB,
        scope=Scope.JOBS_READ,
    ),
    Operation(
        "DELETE",
        "/v1/jobs/{job}",
        jobs.cancel_job,
        "Cancel a job that is not finished",
        JobBody,
        facts=(*OF_A_JOB, errors.JobFinished),
        scope=Scope.JOBS_WRITE,
    ),
    Operation(
        "GET",
        "/v1/jobs/{job}/events",
        job_stream.stream_job_events,
        "Hear what happens to a job, as server-sent events; `Last-Event-ID` resumes",
        None,
        facts=(*OF_A_JOB, errors.RequestInvalid),
        text_media_type=EVENTS,
        nothing_left="The job has ended, and Last-Event-ID names its last event: a browser need not come back.",
        scope=Scope.JOBS_READ,
    ),
    Operation(
        "GET",
        "/v1/jobs/{job}/result",
        jobs.get_job_result,
        "Get the pictures of a finished job, or the error it failed with",
        image_drawing.ImagesResponse,
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
        scope=Scope.JOBS_READ,
    ),
    Operation(
        "GET",
        "/v1/usage",
        usage.get_usage,
        "See what was drawn, by day, model and variant",
        usage.UsageList,
        also_media_type=usage.CSV,
        facts=(*WITH_RECORDS, errors.RequestInvalid),
        query=usage.DAYS,
        scope=Scope.USAGE_READ,
    ),
    Operation(
        "POST",
        "/v1/feedback",
        remembered(feedback.give_feedback, MAX_JSON_BYTES),
        "Say what somebody thought of a picture",
        feedback.FeedbackBody,
        facts=(*WITH_BODY, *UPSTREAM, *KEYED, errors.RequestUnknown, errors.CrisisSupport),
        body=feedback.GiveFeedback,
        example={"request_id": "req_0123456789abcdef01234567", "kind": "stars", "stars": 4, "image": 0},
        scope=Scope.FEEDBACK_WRITE,
    ),
    Operation(
        "GET",
        "/v1/feedback",
        feedback.list_feedback,
        "List feedback, newest first",
        feedback.FeedbackList,
        facts=(*WITH_RECORDS, errors.RequestInvalid),
        query={
            "limit": LIMIT_SCHEMA,
            "after": {"type": "string", "description": "`next_cursor` of the page before."},
            "request_id": {"type": "string", "pattern": ID, "description": "Only of this one."},
        },
        scope=Scope.FEEDBACK_READ,
    ),
    Operation("GET", "/livez", health.livez, "The process answers", health.Liveness, scope=None),
    Operation(
        "GET", "/readyz", health.readyz, "Requests can be held; state of the stages", health.Readiness, scope=None
    ),
    Operation("GET", "/metrics", health.metrics, "Prometheus metrics", None, scope=None),
    *species_operations(DRAWS, CACHED),
    *VIDEO_OPERATIONS,
    *FILE_OPERATIONS,
    *BATCH_OPERATIONS,
    *WEBHOOK_OPERATIONS,
    *RIGHTS_OPERATIONS,
    *ADMIN_OPERATIONS,
    *DEMAND_OPERATIONS,
)
