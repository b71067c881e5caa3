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
from bowerbird.gateway.api import health, images, loras, models, moderations, provenance
from bowerbird.gateway.api.image_request import GenerateImages

Handler = Callable[[Request], Awaitable[Response]]

JSON = "application/json"
FORM = "multipart/form-data"
TEXT = "text/plain"

EVERYWHERE = (errors.BowerbirdError,)
WITH_KEY = (errors.KeyInvalid,)
WITH_BODY = (errors.RequestInvalid, errors.FieldUnknown, errors.BodyTooLarge)
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
    facts: tuple[type[errors.BowerbirdError], ...] = ()
    """Errors of its own that it answers with."""
    body: type[BaseModel] | None = None
    body_media_type: str = JSON
    answer_headers: Mapping[str, str] = field(default_factory=dict)
    """Headers of status 200 beyond those of every answer -> what they say."""
    example: Mapping[str, Any] | None = None
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
            errors.StageFull,
            errors.DrawingFailed,
            errors.LabelFailed,
        ),
        body=GenerateImages,
        answer_headers={
            "Bowerbird-Model-Digest": "sha256 of the bundle that drew",
            "Bowerbird-Seeds": "the seed of each picture, in order",
            "Bowerbird-Scores": "RFC 9651 list: total of each picture, with its scores as parameters",
            "Server-Timing": "milliseconds by stage and in all; judge and check_images begin with draw",
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
        moderations.create_moderation,
        "Ask safety about texts",
        moderations.Moderations,
        facts=(*WITH_BODY, *UPSTREAM, errors.ModelUnknown),
        body=moderations.CreateModeration,
        example={"input": "an american robin perched on a branch in winter"},
    ),
    Operation(
        "POST",
        "/v1/content_provenance_checks",
        provenance.check_provenance,
        "Ask where a picture comes from",
        provenance.ContentProvenanceCheck,
        facts=(*WITH_BODY, *UPSTREAM),
        body=provenance.CheckProvenance,
        body_media_type=FORM,
    ),
    Operation("GET", "/livez", health.livez, "The process answers", health.Liveness, needs_key=False),
    Operation(
        "GET", "/readyz", health.readyz, "Requests can be held; state of the stages", health.Readiness, needs_key=False
    ),
    Operation("GET", "/metrics", health.metrics, "Prometheus metrics", None, needs_key=False),
)
