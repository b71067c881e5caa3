"""Who may not ask, and what an administrator asked about tenants and keys that cannot be."""

from __future__ import annotations

from bowerbird.errors.error import BowerbirdError


class KeyInvalid(BowerbirdError):
    """The bearer key is missing, or opens nothing here."""

    status = 401
    type = "authentication_error"
    code = "invalid_api_key"


class KeyExpired(KeyInvalid):
    """The key was one of ours; its time is over."""

    code = "expired_api_key"


class KeyRevoked(KeyInvalid):
    """The key was one of ours, and was revoked."""

    code = "revoked_api_key"


class ScopeMissing(BowerbirdError):
    """The key is right, but may not do this; the error names the scope that it lacks."""

    status = 403
    type = "permission_error"
    code = "missing_scope"


class TenantDisabled(BowerbirdError):
    """The key is right, but its tenant is switched off, or its tier is not configured here."""

    status = 403
    type = "permission_error"
    code = "tenant_disabled"


class TierExceeded(BowerbirdError):
    """More than the tenant's tier allows at any time: a larger picture, or more compute units than a whole window."""

    status = 403
    type = "permission_error"
    code = "tier_exceeded"


class TenantUnknown(BowerbirdError):
    """There is no tenant of this id."""

    status = 404
    type = "invalid_request_error"
    code = "tenant_not_found"


class KeyUnknown(BowerbirdError):
    """There is no key of this id."""

    status = 404
    type = "invalid_request_error"
    code = "api_key_not_found"


class TenantExists(BowerbirdError):
    """The id of a new tenant is taken, perhaps by one that is disabled; ids are never used twice."""

    status = 409
    type = "invalid_request_error"
    code = "tenant_exists"
    final = True


class KeyEnded(BowerbirdError):
    """The key is revoked, expired or rotated already: it cannot be rotated."""

    status = 409
    type = "invalid_request_error"
    code = "api_key_ended"
    final = True


class LimitReached(BowerbirdError):
    """A limit of the tenant is used up: of a window, or of requests at a time; the error names it."""

    status = 429
    type = "rate_limit_error"
    code = "rate_limit_exceeded"
