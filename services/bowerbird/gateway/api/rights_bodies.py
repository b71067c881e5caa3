"""Shapes of erasures and exports."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from bowerbird.gateway.api.admin_tenants import RESERVED
from bowerbird.gateway.api.body import RequestBody, ResponseBody
from bowerbird.gateway.rights.erasures import DUE_HOURS, KEPT_DAYS, Erasure, State
from bowerbird.gateway.rights.exports import LIFETIME_SECONDS, Export

Identifier = Annotated[str, StringConstraints(min_length=1, max_length=256)]

_IDENTIFIER = "The end user, as requests named it: their `safety_identifier`, or `user`."
_PERSON = (
    "The end user by a keyed name: the same for the same `safety_identifier` of the tenant, and nothing can be read "
    "from it. null: everything of the tenant."
)


class NamePerson(RequestBody):
    """One of the caller's end users."""

    safety_identifier: Identifier = Field(description=_IDENTIFIER, examples=["user-4711"])

    PERSONAL: ClassVar[frozenset[str]] = frozenset({"safety_identifier"})


class NameSubject(RequestBody):
    """A tenant, or one of its end users."""

    tenant: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")] = Field(
        description=f"Its id; `local`, and `{RESERVED}…` of a key in the settings, too.", examples=["birds"]
    )
    safety_identifier: Identifier | None = Field(
        default=None, description=f"{_IDENTIFIER} Everything of the tenant when absent.", examples=["user-4711"]
    )

    PERSONAL: ClassVar[frozenset[str]] = frozenset({"safety_identifier"})


class ErasureBody(ResponseBody):
    """An erasure."""

    id: str = Field(description="Of the erasure.")
    object: Literal["erasure"] = "erasure"
    tenant: str = Field(description="Whose end user, or what is erased.")
    person: str | None = Field(description=_PERSON)
    status: State = Field(description="requested, running or finished.")
    step: str | None = Field(description="Where it is: stop, settle, remove, settle, stop, remove, search, rewrite.")
    erased: dict[str, int] = Field(
        description="What is gone so far, by kind.", examples=[{"jobs": 3, "pictures": 5, "feedback": 1}]
    )
    rewritten: bool | None = Field(
        description="Whether the database's files were written anew at the end. false: deleted rows may be left in "
        "them until the database itself overwrites them, for its tables were too busy or too large. null before."
    )
    requested_at: int = Field(description="Unix seconds.")
    due_at: int = Field(description=f"Unix seconds; {DUE_HOURS} hours later. It takes about a minute.")
    finished_at: int | None = Field(description=f"Unix seconds. It is shown for {KEPT_DAYS} days after that.")

    @classmethod
    def of(cls, erasure: Erasure) -> ErasureBody:
        """As it is answered."""
        return cls(
            id=erasure.id,
            tenant=erasure.tenant,
            person=erasure.person,
            status=erasure.state,
            step=erasure.step,
            erased=dict(erasure.erased),
            rewritten=erasure.rewritten,
            requested_at=erasure.requested_ms // 1000,
            due_at=erasure.due_ms // 1000,
            finished_at=None if erasure.finished_ms is None else erasure.finished_ms // 1000,
        )


class ErasureList(ResponseBody):
    """Erasures, newest first."""

    object: Literal["list"] = "list"
    data: list[ErasureBody]
    has_more: bool


class ExportBody(ResponseBody):
    """An export: its archive can be fetched until it expires, and is made while it is."""

    id: str = Field(description="Of the export.")
    object: Literal["export"] = "export"
    tenant: str = Field(description="Whose end user, or what is exported.")
    person: str | None = Field(description=_PERSON)
    archive: str = Field(description="Path of the archive; the same key fetches it.")
    created_at: int = Field(description="Unix seconds.")
    expires_at: int = Field(description=f"Unix seconds; {LIFETIME_SECONDS} later. No archive is given after that.")

    @classmethod
    def of(cls, export: Export, path: str) -> ExportBody:
        """As it is answered; `path` is that of all exports."""
        return cls(
            id=export.id,
            tenant=export.tenant,
            person=export.person,
            archive=f"{path}/{export.id}/archive",
            created_at=export.created_ms // 1000,
            expires_at=export.expires_ms // 1000,
        )


class ExportList(ResponseBody):
    """Exports whose time is not over, newest first."""

    object: Literal["list"] = "list"
    data: list[ExportBody]
    has_more: bool
