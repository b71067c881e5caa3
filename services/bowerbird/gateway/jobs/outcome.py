"""How an attempt at a job ended: for good, or to be tried again, and whose fault it was.

A refusal (4xx) is final: the same request would be refused again. A stage that is down, full, too slow or broken is not
the job's fault, and the job is tried again until it expires; so it is while its tenant is switched off. When it was
being computed, the intervals grow with its attempts, so that a job which breaks what it meets does so rarely; what
fails before that has nothing to do with it, and it is tried again as soon as the stage may be back. What a healthy
stage says of this very picture, and what nobody foresaw, is the job's own failure; the fifth of those is its last
(`records.claims`).
"""

from __future__ import annotations

from bowerbird.errors import BowerbirdError, StageBroken, StageUnavailable, TenantDisabled, error_body
from bowerbird.gateway.records.job import Ending, Failure, PutBack

FIRST_REST_SECONDS = 0.5
LONGEST_REST_SECONDS = 60.0


def ending_of(error: Exception, attempts: int, *, computed: bool = True) -> Ending:
    """What is written down about a job whose `attempts`-th attempt ended with this error; had computing begun?"""
    growth = 2 ** min(attempts - 1, 10) if computed else 1
    rest = min(LONGEST_REST_SECONDS, FIRST_REST_SECONDS * growth)
    if not isinstance(error, BowerbirdError):
        return PutBack(BowerbirdError.code, rest, own_failure=True)
    if isinstance(error, TenantDisabled):
        return PutBack(error.code, LONGEST_REST_SECONDS)
    if isinstance(error, StageUnavailable | StageBroken):
        return PutBack(error.code, min(LONGEST_REST_SECONDS, max(rest, float(error.retry_after_seconds or 0))))
    if error.status >= 500:
        return PutBack(error.code, rest, own_failure=True)
    return Failure(error_body(error))
