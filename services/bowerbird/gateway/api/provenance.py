"""`POST /v1/content_provenance_checks`: where does this file come from, as far as its label can tell?

The upload is multipart with one field, `file`, as OpenAI's client sends it. It is received whole (into a temporary file
above 1 MB) before curation is asked, so that a second file or an unknown field is refused first. The answer never says
"not AI": a label that is missing proves nothing.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Literal

from pydantic import Field
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request
from starlette.responses import Response

from bowerbird.contracts import Digest, ProvenanceReport, SpeciesOrigin
from bowerbird.errors import FieldUnknown, RequestInvalid
from bowerbird.gateway.api.arrival import arrive
from bowerbird.gateway.api.body import ResponseBody, bounded
from bowerbird.gateway.hang_up import unless_hung_up

MAX_FILE_BYTES = 20 * 1024 * 1024
# Boundaries and part headers around the file.
MAX_BODY_BYTES = MAX_FILE_BYTES + 16 * 1024
CHUNK_BYTES = 256 * 1024


class CheckProvenance(ResponseBody):
    """The form of an upload; for the OpenAPI document."""

    file: Annotated[
        str,
        Field(
            description=f"A PNG, JPEG or WebP, up to {MAX_FILE_BYTES // 1024**2} MiB.",
            json_schema_extra={"contentMediaType": "application/octet-stream"},
        ),
    ]


class ProvenanceFacts(ResponseBody):
    """What was found, in words and in codes; ours."""

    verdict: Literal["made_here_intact", "made_here_modified", "other_ai_declared", "no_evidence"]
    explanation: str
    validation_codes: list[str]
    digital_source_type: str | None
    loras: dict[str, Digest] = Field(
        default_factory=dict, description="Name and digest of each LoRA that took part, where the file was made here."
    )
    species: SpeciesOrigin | None = Field(
        default=None,
        description="Template, family and LoRA, where the file was made here and asked for as one of a species.",
    )


class C2paResult(ResponseBody):
    """What the file's C2PA manifest says."""

    type: Literal["c2pa"] = "c2pa"
    outcome: Literal["detected", "not_detected"]
    validation_state: Literal["trusted", "valid", "invalid", "not_present"]
    issuer: str | None
    model: str | None
    generated_at: str | None = Field(description="RFC 3339, UTC.")
    bowerbird: ProvenanceFacts


class ContentProvenanceCheck(ResponseBody):
    """OpenAI's answer, with one result."""

    object: Literal["content_provenance_check"] = "content_provenance_check"
    created_at: int = Field(description="Unix seconds.")
    results: list[C2paResult]


async def check_provenance(request: Request) -> Response:
    """Asks curation about an uploaded file."""
    gateway, call = arrive(request)
    file = await _uploaded(request)

    async def read() -> ProvenanceReport:
        async with call.within_deadline(), aclosing(_chunks(file)) as chunks:
            with call.stage("check_provenance"):
                return await gateway.upstream.check_provenance(chunks, call)

    try:
        report = await unless_hung_up(request, read())
    finally:
        await file.close()
    body = ContentProvenanceCheck(created_at=int(time.time()), results=[_result(report)])
    return Response(body.model_dump_json(), media_type="application/json")


async def _uploaded(request: Request) -> UploadFile:
    """The one field `file`; raises RequestInvalid, FieldUnknown or BodyTooLarge."""
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise RequestInvalid("Content-Type must be multipart/form-data with one field, 'file'.", param="Content-Type")
    chunks = bounded(request, MAX_BODY_BYTES)
    try:
        form = await MultiPartParser(request.headers, chunks, max_files=1, max_fields=0).parse()
    except MultiPartException as error:
        raise RequestInvalid(f"The form cannot be read: {error.message}", param="file") from error
    unknown = [name for name in form if name != "file"]
    file = form.get("file")
    if unknown or not isinstance(file, UploadFile) or not file.size:
        await form.close()
        if unknown:
            raise FieldUnknown(f"Unknown field {unknown[0][:64]!r}. Accepted: file.", param=unknown[0][:64])
        raise RequestInvalid("file is required: the bytes of one picture.", param="file")
    return file


async def _chunks(file: UploadFile) -> AsyncGenerator[bytes]:
    while chunk := await file.read(CHUNK_BYTES):
        yield chunk


def _result(report: ProvenanceReport) -> C2paResult:
    return C2paResult(
        outcome=report.outcome,
        validation_state=report.validation_state,
        issuer=report.issuer,
        model=report.model,
        generated_at=report.generated_at,
        bowerbird=ProvenanceFacts(
            verdict=report.verdict,
            explanation=report.explanation,
            validation_codes=report.validation_codes,
            digital_source_type=report.digital_source_type,
            loras=report.loras,
            species=report.species,
        ),
    )
