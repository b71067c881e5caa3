"""`/v1/erasures`, `/v1/exports`, and the same below `/v1/admin`: a person's rights, and a tenant's.

A tenant names its own end users; an administrator names a tenant, and may name an end user of it. What is asked for is
a row (`gateway/rights`): an erasure goes on whoever hangs up or dies, an export is the right to fetch an archive.
"""

from __future__ import annotations

from collections.abc import Callable

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from bowerbird.errors import RequestInvalid
from bowerbird.gateway.api.admin_tenants import RESERVED, author_of
from bowerbird.gateway.api.arrival import gateway_of
from bowerbird.gateway.api.body import read_json
from bowerbird.gateway.api.paging import limit_of, path_id, text_of
from bowerbird.gateway.api.rights_bodies import (
    ErasureBody,
    ErasureList,
    ExportBody,
    ExportList,
    NamePerson,
    NameSubject,
)
from bowerbird.gateway.identity.configured import LOCAL_TENANT
from bowerbird.gateway.rights.archive import MEDIA_TYPE
from bowerbird.gateway.rights.opening import Rights
from bowerbird.gateway.rights.subject import Subject

ADMIN = "/v1/admin/"
EXPORTS = "exports"


async def erase_person(request: Request) -> Response:
    """Begins to erase one of the caller's end users."""
    return await _erase(request, await _person(request))


async def erase_subject(request: Request) -> Response:
    """Begins to erase a tenant, or one of its end users."""
    subject = await _subject(request)
    principal = request.state.principal
    if subject.person is None and principal.tenant == subject.tenant and principal.actor.startswith("key:"):
        raise RequestInvalid(
            "tenant: your key is this tenant's, and would go with it. Accepted: a key of another tenant.",
            param="tenant",
        )
    return await _erase(request, subject)


async def get_erasure(request: Request) -> Response:
    """How far an erasure is."""
    found = await _rights(request).erasures.get(path_id(request, "erasure"), _tenant(request))
    return _answer(ErasureBody.of(found))


async def list_erasures(request: Request) -> Response:
    """A page of erasures."""
    limit = limit_of(request)
    found = await _rights(request).erasures.page(_tenant(request), text_of(request, "after"), limit + 1)
    data = [ErasureBody.of(each) for each in found[:limit]]
    return _answer(ErasureList(data=data, has_more=len(found) > limit))


async def export_person(request: Request) -> Response:
    """Allows the archive of one of the caller's end users to be fetched."""
    return await _export(request, await _person(request))


async def export_subject(request: Request) -> Response:
    """Allows the archive of a tenant, or of one of its end users, to be fetched."""
    return await _export(request, await _subject(request))


async def get_export(request: Request) -> Response:
    """One export."""
    found = await _rights(request).exports.get(path_id(request, "export"), _tenant(request))
    return _answer(_export_body(request)(found))


async def list_exports(request: Request) -> Response:
    """A page of exports."""
    limit = limit_of(request)
    found = await _rights(request).exports.page(_tenant(request), text_of(request, "after"), limit + 1)
    data = [_export_body(request)(each) for each in found[:limit]]
    return _answer(ExportList(data=data, has_more=len(found) > limit))


async def delete_export(request: Request) -> Response:
    """Ends an export before its time."""
    found = await _rights(request).exports.delete(path_id(request, "export"), _tenant(request))
    return _answer(_export_body(request)(found))


async def get_archive(request: Request) -> Response:
    """The archive, made while it is sent."""
    rights = _rights(request)
    export = await rights.exports.fetched(path_id(request, "export"), _tenant(request), author_of(request))
    headers = {"Content-Disposition": f'attachment; filename="{export.id}.tar"', "Cache-Control": "no-store"}
    return StreamingResponse(rights.archive(export).stream(), headers=headers, media_type=MEDIA_TYPE)


async def _erase(request: Request, subject: Subject) -> Response:
    gateway = gateway_of(request)
    erasure = await gateway.rights.erasures.request(subject, author_of(request))
    if subject.person is None:
        gateway.administration.known.forget()
    gateway.rights.carrier.wake()
    return _answer(ErasureBody.of(erasure))


async def _export(request: Request, subject: Subject) -> Response:
    made = await _rights(request).exports.create(subject, author_of(request))
    return _answer(_export_body(request)(made))


async def _person(request: Request) -> Subject:
    asked = await read_json(request, NamePerson)
    return Subject.of(request.state.tenant, asked.safety_identifier, gateway_of(request).records.people)


async def _subject(request: Request) -> Subject:
    """Raises TenantUnknown for one that has no row and is not the settings'."""
    gateway = gateway_of(request)
    asked = await read_json(request, NameSubject)
    if asked.tenant != LOCAL_TENANT and not asked.tenant.startswith(RESERVED):
        await gateway.administration.tenants.get(asked.tenant)
    return Subject.of(asked.tenant, asked.safety_identifier, gateway.records.people)


def _rights(request: Request) -> Rights:
    return gateway_of(request).rights


def _administers(request: Request) -> bool:
    return request.url.path.startswith(ADMIN)


def _tenant(request: Request) -> str | None:
    """Whose they must be: the caller's, or anybody's for an administrator."""
    return None if _administers(request) else str(request.state.tenant)


def _export_body(request: Request) -> Callable[..., ExportBody]:
    path = f"{ADMIN}{EXPORTS}" if _administers(request) else f"/v1/{EXPORTS}"
    return lambda export: ExportBody.of(export, path)


def _answer(body: BaseModel) -> Response:
    return Response(body.model_dump_json(), media_type="application/json")
