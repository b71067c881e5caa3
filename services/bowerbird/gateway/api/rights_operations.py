"""The part of the route table in which people's rights stand: once for tenants, once for administrators."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bowerbird import errors
from bowerbird.gateway.api import rights
from bowerbird.gateway.api.body import MAX_JSON_BYTES, RequestBody
from bowerbird.gateway.api.idempotency import remembered
from bowerbird.gateway.api.operation import KEYED, WITH_BODY, WITH_RECORDS, Handler, Operation
from bowerbird.gateway.api.paging import AFTER_SCHEMA, LIMIT_SCHEMA
from bowerbird.gateway.api.rights_bodies import (
    ErasureBody,
    ErasureList,
    ExportBody,
    ExportList,
    NamePerson,
    NameSubject,
)
from bowerbird.gateway.identity.scopes import Scope
from bowerbird.gateway.rights.archive import MEDIA_TYPE

PAGE = {"limit": LIMIT_SCHEMA, "after": AFTER_SCHEMA}
LISTED = (*WITH_RECORDS, errors.RequestInvalid)
OF_AN_ERASURE = (*WITH_RECORDS, errors.ErasureUnknown)
OF_AN_EXPORT = (*WITH_RECORDS, errors.ExportUnknown)


@dataclass(frozen=True, slots=True)
class _Door:
    """What differs between the two."""

    path: str
    whom: str
    named: type[RequestBody]
    example: Mapping[str, str]
    erase: Handler
    export: Handler
    facts: tuple[type[errors.BowerbirdError], ...]
    erases: Scope
    exports: Scope


TENANTS = _Door(
    path="/v1",
    whom="one of your end users",
    named=NamePerson,
    example={"safety_identifier": "user-4711"},
    erase=remembered(rights.erase_person, MAX_JSON_BYTES),
    export=remembered(rights.export_person, MAX_JSON_BYTES),
    facts=(*WITH_BODY, *KEYED),
    erases=Scope.PEOPLE_ERASE,
    exports=Scope.PEOPLE_EXPORT,
)

ADMINISTRATORS = _Door(
    path="/v1/admin",
    whom="a tenant, or one of its end users",
    named=NameSubject,
    example={"tenant": "local", "safety_identifier": "user-4711"},
    erase=rights.erase_subject,
    export=rights.export_subject,
    facts=(*WITH_BODY, *WITH_RECORDS, errors.TenantUnknown),
    erases=Scope.TENANTS_ERASE,
    exports=Scope.TENANTS_EXPORT,
)


def _erasures(door: _Door) -> tuple[Operation, ...]:
    path = f"{door.path}/erasures"
    return (
        Operation(
            "POST",
            path,
            door.erase,
            f"Erase all that is kept about {door.whom}, within a day, mostly within a minute",
            ErasureBody,
            facts=door.facts,
            body=door.named,
            example=door.example,
            scope=door.erases,
        ),
        Operation(
            "GET",
            path,
            rights.list_erasures,
            "List erasures, newest first",
            ErasureList,
            facts=LISTED,
            query=PAGE,
            scope=door.erases,
        ),
        Operation(
            "GET",
            f"{path}/{{erasure}}",
            rights.get_erasure,
            "See how far an erasure is",
            ErasureBody,
            facts=OF_AN_ERASURE,
            scope=door.erases,
        ),
    )


def _exports(door: _Door) -> tuple[Operation, ...]:
    path = f"{door.path}/exports"
    return (
        Operation(
            "POST",
            path,
            door.export,
            f"Have an hour to fetch all that is kept about {door.whom}",
            ExportBody,
            facts=door.facts,
            body=door.named,
            example=door.example,
            scope=door.exports,
        ),
        Operation(
            "GET",
            path,
            rights.list_exports,
            "List exports that can still be fetched, newest first",
            ExportList,
            facts=LISTED,
            query=PAGE,
            scope=door.exports,
        ),
        Operation(
            "GET",
            f"{path}/{{export}}",
            rights.get_export,
            "See until when an export can be fetched",
            ExportBody,
            facts=OF_AN_EXPORT,
            scope=door.exports,
        ),
        Operation(
            "GET",
            f"{path}/{{export}}/archive",
            rights.get_archive,
            "Fetch the archive of an export: JSON lines, pictures, and a manifest at its end",
            None,
            facts=OF_AN_EXPORT,
            text_media_type=MEDIA_TYPE,
            scope=door.exports,
        ),
        Operation(
            "DELETE",
            f"{path}/{{export}}",
            rights.delete_export,
            "End an export before its time",
            ExportBody,
            facts=OF_AN_EXPORT,
            scope=door.exports,
        ),
    )


RIGHTS_OPERATIONS = tuple(
    operation for door in (TENANTS, ADMINISTRATORS) for operation in (*_erasures(door), *_exports(door))
)
