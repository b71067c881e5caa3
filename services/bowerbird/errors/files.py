"""What cannot be done about a file or a batch."""

from __future__ import annotations

from bowerbird.errors.error import BowerbirdError


class FileUnknown(BowerbirdError):
    """There is no file of this id; one of another tenant, or one that is still written, looks the same."""

    status = 404
    type = "invalid_request_error"
    code = "file_not_found"


class FileInUse(BowerbirdError):
    """A batch that has not ended reads the file: it is deleted when that has ended, or was cancelled."""

    status = 409
    type = "invalid_request_error"
    code = "file_in_use"
    final = True


class StorageFull(BowerbirdError):
    """The tenant's files take as many bytes as they may: some must be deleted first."""

    status = 403
    type = "invalid_request_error"
    code = "storage_full"
    final = True


class BatchUnknown(BowerbirdError):
    """There is no batch of this id; one of another tenant looks the same."""

    status = 404
    type = "invalid_request_error"
    code = "batch_not_found"


class BatchFinished(BowerbirdError):
    """The batch has ended, in the state that the error names: nothing is left to cancel."""

    status = 409
    type = "invalid_request_error"
    code = "batch_finished"
    final = True


class TooManyBatches(BowerbirdError):
    """The tenant has as many batches under way as it may: the next one is taken when one of them has ended."""

    status = 429
    type = "rate_limit_error"
    code = "too_many_batches"


class LineUnreadable(BowerbirdError):
    """A line of a batch is no request of the batch's endpoint; the other lines are not concerned."""

    status = 400
    type = "invalid_request_error"
    code = "invalid_line"


class LineErased(BowerbirdError):
    """A line of the input was erased, because of what it said; it is not drawn."""

    status = 400
    type = "invalid_request_error"
    code = "line_erased"


class BatchExpired(BowerbirdError):
    """The line was not run within the batch's completion window, and will not be."""

    status = 410
    type = "invalid_request_error"
    code = "batch_expired"
