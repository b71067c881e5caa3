"""The shapes of `/v1/files`: OpenAI's, with what this version accepts of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, ValidationError

from bowerbird.errors import RequestInvalid
from bowerbird.gateway.api.body import RequestBody, ResponseBody, refusal
from bowerbird.gateway.files.file import MAX_FILE_BYTES, USUAL_SECONDS, File, Purpose

MIN_EXPIRES_SECONDS = 3_600
MAX_EXPIRES_SECONDS = 2_592_000
EXPIRES_ANCHOR = "expires_after[anchor]"
EXPIRES_SECONDS = "expires_after[seconds]"

ExpiresSeconds = Annotated[
    int,
    Field(
        ge=MIN_EXPIRES_SECONDS,
        le=MAX_EXPIRES_SECONDS,
        description="Seconds from when the file is there until it is removed: an hour to 30 days.",
        examples=[USUAL_SECONDS],
    ),
]


class ExpiresAfter(RequestBody):
    """How long a file is kept."""

    anchor: Literal["created_at"] = Field(description="From when: when the file was created.")
    seconds: ExpiresSeconds


class UploadFields(RequestBody):
    """What is said of a file beside its bytes."""

    purpose: Literal["batch"] = Field(description="What it is for: lines of a batch.")
    expires_after: ExpiresAfter | None = Field(
        default=None, description=f"How long it is kept; {USUAL_SECONDS // 86_400} days when absent."
    )

    NOT_HERE: ClassVar[Mapping[str, str]] = {
        f"purpose={name}": "files are read by batches only"
        for name in ("assistants", "fine-tune", "vision", "user_data", "evals")
    }

    @property
    def seconds(self) -> int:
        """How long it is kept."""
        return USUAL_SECONDS if self.expires_after is None else self.expires_after.seconds


class UploadForm(UploadFields):
    """Keep a file for a batch; the form, for the OpenAPI document."""

    file: Annotated[
        str,
        Field(
            json_schema_extra={"contentMediaType": "application/jsonl"},
            description=f"JSONL, up to {MAX_FILE_BYTES // 1024**2} MiB: a request on each line, at most 50 000 of "
            "them. A blank line is none.",
        ),
    ]


class FileObject(ResponseBody):
    """A file of the caller's tenant."""

    id: str = Field(description="Its name in the API.", examples=["file-0123456789abcdef01234567"])
    object: Literal["file"] = Field(default="file", description="Always `file`.")
    bytes: int = Field(ge=0, description="Its size.")
    created_at: int = Field(description="Unix seconds.")
    expires_at: int | None = Field(description="Unix seconds; it is removed then, unless a batch still reads it.")
    filename: str = Field(description="As it was uploaded, without folders and control characters.")
    purpose: Purpose = Field(description="batch: uploaded; batch_output: made by a batch.")
    status: Literal["processed"] = Field(default="processed", description="Always `processed`: nothing is done to it.")
    status_details: str | None = Field(default=None, description="Always null.")


class FileList(ResponseBody):
    """Files of the caller's tenant."""

    object: Literal["list"] = Field(default="list", description="Always `list`.")
    data: list[FileObject] = Field(description="The files, in the order that was asked for.")
    has_more: bool = Field(description="Whether there are files behind the last one.")
    first_id: str | None = Field(description="`id` of the first file here.")
    last_id: str | None = Field(description="`id` of the last file here: send it as `after` for the next page.")


class FileDeleted(ResponseBody):
    """The file is gone."""

    id: str = Field(description="Its name in the API, which means nothing any more.")
    object: Literal["file"] = Field(default="file", description="Always `file`.")
    deleted: Literal[True] = Field(default=True, description="Always true.")


def file_object(file: File) -> FileObject:
    """The file as the API shows it."""
    return FileObject(
        id=file.id,
        bytes=file.bytes,
        created_at=file.created_ms // 1000,
        expires_at=None if file.expires_ms is None else file.expires_ms // 1000,
        filename=file.filename,
        purpose=file.purpose,
    )


def read_fields(fields: Mapping[str, str]) -> UploadFields:
    """The text fields of a form as what they are; raises RequestInvalid or FieldUnknown."""
    stated: dict[str, Any] = {name: value for name, value in fields.items() if name == "purpose"}
    expires = {"anchor": fields.get(EXPIRES_ANCHOR), "seconds": fields.get(EXPIRES_SECONDS)}
    if any(value is not None for value in expires.values()):
        stated["expires_after"] = {name: value for name, value in expires.items() if value is not None}
    try:
        return UploadFields.model_validate_strings(stated, strict=False)
    except ValidationError as error:
        found = refusal(error.errors(include_url=False)[0], UploadFields)
        raise RequestInvalid(found.message, param=found.param) from None
