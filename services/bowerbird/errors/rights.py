"""What was asked about erasures and exports that are not there."""

from __future__ import annotations

from bowerbird.errors.error import BowerbirdError


class ErasureUnknown(BowerbirdError):
    """There is no erasure of this id; another tenant's looks the same."""

    status = 404
    type = "invalid_request_error"
    code = "erasure_not_found"


class ExportUnknown(BowerbirdError):
    """There is no export of this id, or its time is over; another tenant's looks the same."""

    status = 404
    type = "invalid_request_error"
    code = "export_not_found"
