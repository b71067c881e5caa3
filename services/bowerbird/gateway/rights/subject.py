"""Whom an erasure or an export is about."""

from __future__ import annotations

from dataclasses import dataclass

from bowerbird.gateway.call import flow_of
from bowerbird.gateway.records.people import People


@dataclass(frozen=True, slots=True)
class Subject:
    """A tenant, or one of its end users."""

    tenant: str
    person: str | None
    """The keyed name (`records.people`); None is everything of the tenant."""

    @classmethod
    def of(cls, tenant: str, identifier: str | None, people: People) -> Subject:
        """The subject behind an identifier; without one, the tenant."""
        return cls(tenant, people.name(flow_of(tenant), identifier))

    @property
    def flow(self) -> str:
        """The tenant's, by which stored results know it."""
        return flow_of(self.tenant)
