"""Scopes, what may be done, and roles, who may do what.

An operation of the route table states the one scope it needs (`api.operations`); a key has a role and, where it was
made narrower, some of that role's scopes. Nothing is allowed that is not listed here: a new operation states its scope,
or only administrators reach it.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


class Scope(StrEnum):
    """One permission, `subject:action`."""

    MODELS_READ = "models:read"
    IMAGES_WRITE = "images:write"
    MODERATIONS_WRITE = "moderations:write"
    PROVENANCE_READ = "provenance:read"
    JOBS_READ = "jobs:read"
    JOBS_WRITE = "jobs:write"
    FILES_READ = "files:read"
    FILES_WRITE = "files:write"
    BATCHES_READ = "batches:read"
    BATCHES_WRITE = "batches:write"
    WEBHOOKS_READ = "webhooks:read"
    WEBHOOKS_WRITE = "webhooks:write"
    FEEDBACK_READ = "feedback:read"
    FEEDBACK_WRITE = "feedback:write"
    USAGE_READ = "usage:read"
    PEOPLE_EXPORT = "people:export"
    PEOPLE_ERASE = "people:erase"
    REVIEWS_READ = "reviews:read"
    REVIEWS_WRITE = "reviews:write"
    TENANTS_READ = "tenants:read"
    TENANTS_WRITE = "tenants:write"
    TENANTS_EXPORT = "tenants:export"
    TENANTS_ERASE = "tenants:erase"
    KEYS_READ = "keys:read"
    KEYS_WRITE = "keys:write"
    AUDIT_READ = "audit:read"
    DEMAND_READ = "demand:read"
    DEMAND_WRITE = "demand:write"
    ADMINISTRATION = "administration"
    """What an operation needs that states nothing; no role but `admin` has it, and no narrower key."""


class Role(StrEnum):
    """What somebody is to the deployment."""

    TENANT = "tenant"
    """Draws, and sees what is its own."""
    REVIEWER = "reviewer"
    """A person who looks at pictures that safety or curation did not decide alone."""
    OPERATOR = "operator"
    """Keeps it running: sees tenants, keys, limits, demand and the audit log; changes and draws nothing."""
    ADMIN = "admin"
    """Everything."""


_OWN = frozenset(
    {
        Scope.MODELS_READ,
        Scope.IMAGES_WRITE,
        Scope.MODERATIONS_WRITE,
        Scope.PROVENANCE_READ,
        Scope.JOBS_READ,
        Scope.JOBS_WRITE,
        Scope.FILES_READ,
        Scope.FILES_WRITE,
        Scope.BATCHES_READ,
        Scope.BATCHES_WRITE,
        Scope.WEBHOOKS_READ,
        Scope.WEBHOOKS_WRITE,
        Scope.FEEDBACK_READ,
        Scope.FEEDBACK_WRITE,
        Scope.USAGE_READ,
        Scope.PEOPLE_EXPORT,
        Scope.PEOPLE_ERASE,
    }
)

SCOPES_OF: Mapping[Role, frozenset[Scope]] = MappingProxyType(
    {
        Role.TENANT: _OWN,
        Role.REVIEWER: frozenset(
            {
                Scope.MODELS_READ,
                Scope.MODERATIONS_WRITE,
                Scope.PROVENANCE_READ,
                Scope.REVIEWS_READ,
                Scope.REVIEWS_WRITE,
            }
        ),
        Role.OPERATOR: frozenset(
            {
                Scope.MODELS_READ,
                Scope.USAGE_READ,
                Scope.TENANTS_READ,
                Scope.KEYS_READ,
                Scope.AUDIT_READ,
                Scope.DEMAND_READ,
            }
        ),
        Role.ADMIN: frozenset(Scope),
    }
)
"""Role -> everything that it may; a key has all of it, or less."""


def effective_scopes(role: Role, narrowed: frozenset[Scope] | None) -> frozenset[Scope]:
    """What a key of this role may, with `narrowed` as its own list; None is all of the role."""
    return SCOPES_OF[role] if narrowed is None else SCOPES_OF[role] & narrowed
