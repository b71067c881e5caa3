"""`/v1/files`: upload, list, look at, download, delete. A file of another tenant is not there (404, not 403)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from bowerbird.errors import PictureLost, RequestInvalid
from bowerbird.gateway.api.arrival import gateway_of
from bowerbird.gateway.api.body import shown_value
from bowerbird.gateway.api.file_bodies import FileDeleted, FileList, file_object
from bowerbird.gateway.api.file_upload import read_upload
from bowerbird.gateway.api.idempotency import keyed_request, read_key
from bowerbird.gateway.api.paging import ID, path_id, text_of
from bowerbird.gateway.files.file import Purpose, content_disposition

MAX_PAGE = 10_000
BYTES = "application/octet-stream"

PAGE: Mapping[str, Mapping[str, Any]] = {
    "limit": {
        "type": "integer",
        "minimum": 1,
        "maximum": MAX_PAGE,
        "default": MAX_PAGE,
        "description": "Files on a page, at most.",
    },
    "after": {"type": "string", "pattern": ID, "description": "`last_id` of the page before."},
    "order": {
        "type": "string",
        "enum": ["asc", "desc"],
        "default": "desc",
        "description": "By `created_at`: oldest or newest first.",
    },
    "purpose": {"type": "string", "enum": list(Purpose), "description": "Only files of this purpose."},
}


async def create_file(request: Request) -> Response:
    """Keeps what is uploaded, as it comes."""
    gateway, key = gateway_of(request), read_key(request)
    files = gateway.files.files
    upload = await read_upload(request, files)
    try:
        keyed = None if key is None else keyed_request(request, gateway, key, upload.digest)
        file = await files.finish(upload.file_id, upload.fields.seconds, upload.filename, keyed)
    except BaseException:
        await files.give_up(upload.file_id)
        raise
    return Response(file_object(file).model_dump_json(), media_type="application/json")


async def list_files(request: Request) -> Response:
    """A page of files."""
    limit, order = _limit(request), _one_of(request, "order", ("desc", "asc")) or "desc"
    purpose, after = _one_of(request, "purpose", tuple(Purpose)), text_of(request, "after")
    files = gateway_of(request).files.files
    found = await files.page(request.state.tenant, limit + 1, after, purpose, oldest_first=order == "asc")
    shown = [file_object(each) for each in found[:limit]]
    body = FileList(
        data=shown,
        has_more=len(found) > limit,
        first_id=shown[0].id if shown else None,
        last_id=shown[-1].id if shown else None,
    )
    return Response(body.model_dump_json(), media_type="application/json")


async def get_file(request: Request) -> Response:
    """One file, without its bytes."""
    file = await gateway_of(request).files.files.get(request.state.tenant, path_id(request, "file_id"))
    return Response(file_object(file).model_dump_json(), media_type="application/json")


async def get_file_content(request: Request) -> Response:
    """The bytes, a part at a time; what cannot be read at all is said before the first of them."""
    files = gateway_of(request).files.files
    file = await files.get(request.state.tenant, path_id(request, "file_id"))
    pieces = files.parts.read(file.id)
    try:
        first = await anext(pieces, b"")
    except PictureLost:
        await files.get(file.tenant, file.id)  # its row goes before its bytes
        raise
    if not first and file.bytes:
        await files.get(file.tenant, file.id)
        raise PictureLost(f"{file.bytes} bytes were stored, none are there.")
    headers = {
        "Content-Length": str(file.bytes),
        "Content-Disposition": content_disposition(file.filename),
        "X-Content-Type-Options": "nosniff",
    }
    return StreamingResponse(_from(first, pieces), 200, headers, BYTES)


async def delete_file(request: Request) -> Response:
    """Removes the file and its bytes."""
    file_id = path_id(request, "file_id")
    await gateway_of(request).files.files.delete(request.state.tenant, file_id)
    return Response(FileDeleted(id=file_id).model_dump_json(), media_type="application/json")


async def _from(first: bytes, pieces: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    try:
        if first:
            yield first
        async for piece in pieces:
            yield piece
    finally:
        await pieces.aclose()


def _limit(request: Request) -> int:
    stated = request.query_params.get("limit", str(MAX_PAGE))
    if stated.isascii() and stated.isdigit() and len(stated) <= 5 and 1 <= int(stated) <= MAX_PAGE:
        return int(stated)
    raise RequestInvalid(f"limit: {shown_value(stated)} is not accepted. Accepted: 1 to {MAX_PAGE}.", param="limit")


def _one_of(request: Request, name: str, accepted: tuple[str, ...]) -> str | None:
    stated = request.query_params.get(name)
    if stated is None or stated in accepted:
        return stated
    shown = ", ".join(map(repr, map(str, accepted)))
    raise RequestInvalid(f"{name}: {shown_value(stated)} is not accepted. Accepted: {shown}.", param=name)
