"""Why a request is not computed now: a stage, a place in the queue or the time is missing."""

from __future__ import annotations

from bowerbird.errors.error import BowerbirdError


class StageUnavailable(BowerbirdError):
    """A stage is down or still starting; asking again later may succeed."""

    status = 503
    type = "service_unavailable_error"
    code = "stage_unavailable"


class RecordsUnavailable(StageUnavailable):
    """The database or the picture store cannot be asked now, or is full; asking again later may succeed."""

    code = "records_unavailable"


class GatewayStopping(StageUnavailable):
    """The gateway is about to stop, and too little time is left to draw this; another one will, or its successor."""

    code = "gateway_stopping"


class GrantStale(StageUnavailable):
    """A slot by the word of one who does not own the queue any more: a later owner's grants have been seen here."""

    status = 409
    code = "grant_stale"


class StageFull(StageUnavailable):
    """All slots of a stage are taken; a slot is free again when computing has stopped."""

    status = 429
    type = "rate_limit_error"
    code = "stage_full"


class GatewayFull(StageUnavailable):
    """As many requests are being answered as may be at once, whatever they wait for; asking again may succeed."""

    status = 429
    type = "rate_limit_error"
    code = "gateway_full"


class QueueFull(StageUnavailable):
    """As many requests wait as may; `Retry-After` says when there is room again as fast as the queue moves now."""

    status = 429
    type = "rate_limit_error"
    code = "queue_full"


class TenantQueueFull(QueueFull):
    """As many of the tenant's requests wait as may; those of others are not in the way."""

    code = "tenant_queue_full"


class QueueTimeout(StageUnavailable):
    """No slot was free within the time that the request was kept waiting for."""

    status = 429
    type = "rate_limit_error"
    code = "queue_timeout"


class DeadlineExceeded(StageUnavailable):
    """The time the caller allowed ran out before the picture was finished."""

    code = "deadline_exceeded"


class StageBroken(BowerbirdError):
    """A stage answered in a way its contract does not allow (a stream without an end, a wrong digest)."""

    status = 502
    code = "stage_broken"
