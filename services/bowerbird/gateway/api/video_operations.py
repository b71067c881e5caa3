"""The routes of clips."""

from __future__ import annotations

from bowerbird import errors
from bowerbird.gateway.api import videos
from bowerbird.gateway.api.operation import ENDED_JOB, FORM, KEYED, OF_A_JOB, UPSTREAM, WITH_BODY, Operation
from bowerbird.gateway.api.video_body import Video, VideoDeleted, VideoList
from bowerbird.gateway.api.video_request import CreateVideo, CreateVideoForm
from bowerbird.gateway.identity.scopes import Scope

ACCEPTS = (
    *WITH_BODY,
    *UPSTREAM,
    *KEYED,
    errors.PromptRefused,
    errors.CrisisSupport,
    errors.PromptTooLong,
    errors.SizeUnsupported,
    errors.ModelUnknown,
    errors.TenantQueueFull,
    errors.TierExceeded,
    errors.FeatureUnavailable,
    errors.ImageRefused,
    errors.StorageFull,
)
"""What accepting a clip may meet; what drawing it may meet, stands in its `error`."""

VIDEO_OPERATIONS = (
    Operation(
        "POST",
        "/v1/videos",
        videos.create_video,
        "Draw a clip of a prompt, as a job",
        Video,
        facts=(*ACCEPTS, errors.JobUnknown),
        body=CreateVideo,
        also_body_media_type=FORM,
        also_body=CreateVideoForm,
        example={"prompt": "a cardinal taking off, winter", "seconds": 2, "fps": 8, "seed": 7},
        scope=Scope.IMAGES_WRITE,
    ),
    Operation(
        "GET",
        "/v1/videos",
        videos.list_videos,
        "List clips",
        VideoList,
        facts=(errors.RecordsUnavailable, errors.RequestInvalid),
        query=videos.PAGE,
        scope=Scope.JOBS_READ,
    ),
    Operation(
        "GET",
        "/v1/videos/{video}",
        videos.get_video,
        "See how far a clip is",
        Video,
        facts=OF_A_JOB,
        scope=Scope.JOBS_READ,
    ),
    Operation(
        "DELETE",
        "/v1/videos/{video}",
        videos.delete_video,
        "Delete a clip; one that is still drawn is cancelled",
        VideoDeleted,
        facts=OF_A_JOB,
        scope=Scope.JOBS_WRITE,
    ),
    Operation(
        "GET",
        "/v1/videos/{video}/content",
        videos.get_video_content,
        "Download a clip, or a range of its bytes",
        None,
        facts=(
            *OF_A_JOB,
            *ENDED_JOB,
            errors.JobUnfinished,
            errors.RequestInvalid,
            errors.RangeUnsatisfiable,
            errors.ImageRefused,
            errors.PromptRefused,
            errors.CrisisSupport,
            errors.ModelUnknown,
            errors.SizeUnsupported,
            errors.PromptTooLong,
        ),
        query=videos.CONTENT,
        text_media_type="video/mp4",
        more_media_types=("image/webp", "image/gif"),
        partial="The range of bytes that Range asks for.",
        answer_headers={"ETag": "names the bytes; send it as If-Range", "Accept-Ranges": "bytes"},
        scope=Scope.JOBS_READ,
    ),
)
