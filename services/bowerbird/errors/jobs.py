"""How a job stands in the way of what was asked of it, and how it ended."""

from __future__ import annotations

from bowerbird.errors.error import BowerbirdError


class JobUnknown(BowerbirdError):
    """There is no job of this id; a job of another tenant looks the same."""

    status = 404
    type = "invalid_request_error"
    code = "job_not_found"


class JobUnfinished(BowerbirdError):
    """The job is queued or running: its result may be there later."""

    status = 409
    type = "invalid_request_error"
    code = "job_not_finished"


class JobFinished(BowerbirdError):
    """The job has ended, in the state that the error names: nothing is left to cancel."""

    status = 409
    type = "invalid_request_error"
    code = "job_finished"
    final = True


class JobCancelled(BowerbirdError):
    """The job was cancelled: it has no result, and will have none."""

    status = 409
    type = "invalid_request_error"
    code = "job_cancelled"
    final = True


class JobExpired(BowerbirdError):
    """The job was not finished within the time that jobs are kept for: it will not be."""

    status = 410
    type = "invalid_request_error"
    code = "job_expired"


class ComputingTooLong(BowerbirdError):
    """A job took longer to compute than it may, although every stage was well: tried again, it gets twice the time."""

    code = "computing_too_long"


class JobQuarantined(BowerbirdError):
    """The job failed by its own fault so often that it is not tried again; the last failure is named."""

    code = "job_quarantined"
    final = True
