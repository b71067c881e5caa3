"""The files' part of the route table."""

from __future__ import annotations

from bowerbird import errors
from bowerbird.gateway.api import file_bodies, file_endpoints
from bowerbird.gateway.api.operation import FORM, KEYED, WITH_BODY, WITH_RECORDS, Operation
from bowerbird.gateway.identity.scopes import Scope

ONE = "/v1/files/{file_id}"
OF_ONE = (*WITH_RECORDS, errors.FileUnknown)

FILE_OPERATIONS = (
    Operation(
        "POST",
        "/v1/files",
        file_endpoints.create_file,
        "Upload the lines of a batch",
        file_bodies.FileObject,
        facts=(*WITH_BODY, *KEYED, errors.StorageFull, errors.FileUnknown),
        body=file_bodies.UploadForm,
        body_media_type=FORM,
        example={"purpose": "batch", "file": "@prompts.jsonl"},
        scope=Scope.FILES_WRITE,
    ),
    Operation(
        "GET",
        "/v1/files",
        file_endpoints.list_files,
        "List files, newest first",
        file_bodies.FileList,
        facts=(*OF_ONE, errors.RequestInvalid),
        query=file_endpoints.PAGE,
        scope=Scope.FILES_READ,
    ),
    Operation(
        "GET",
        ONE,
        file_endpoints.get_file,
        "See a file's size and how long it is kept",
        file_bodies.FileObject,
        facts=OF_ONE,
        scope=Scope.FILES_READ,
    ),
    Operation(
        "GET",
        f"{ONE}/content",
        file_endpoints.get_file_content,
        "Download a file",
        None,
        facts=(*OF_ONE, errors.PictureLost),
        answer_headers={"Content-Disposition": "RFC 6266: attachment, with the file's name"},
        text_media_type=file_endpoints.BYTES,
        scope=Scope.FILES_READ,
    ),
    Operation(
        "DELETE",
        ONE,
        file_endpoints.delete_file,
        "Delete a file that no running batch reads",
        file_bodies.FileDeleted,
        facts=(*OF_ONE, errors.FileInUse),
        scope=Scope.FILES_WRITE,
    ),
)
