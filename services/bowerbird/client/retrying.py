"""When a request is sent again, and how long to wait before: one policy for both clients.

    nothing was sent (no connection)        again, whatever it is
    429: refused before anything was done   again, whatever it is
    the connection broke after sending, or  again, if sending it twice is as good as once (`Call.repeatable`)
    408, 409, 502, 503, 504
    `x-should-retry`                        as it says, for what may be repeated; `false` for anything
    anything else                           not again: 400 to 422 is the caller's, 500 was tried and failed

`Retry-After` is waited for as stated (RFC 9110: seconds, or a date), and where it is longer than the time that is left
the answer is given to the caller at once; where nothing is stated the rests double, with jitter, so that clients which
failed together do not come back together (Brooker, "Exponential Backoff and Jitter", AWS, 2015).
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2
import tenacity

DEFAULT_RETRIES = 5
"""With their rests some fifteen seconds: a gateway that died is started again in less."""
FIRST_REST_SECONDS = 0.5
LONGEST_REST_SECONDS = 8.0
JITTER_SECONDS = 0.25
"""On top of what Retry-After says."""

NOT_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)
REFUSED_BEFORE = frozenset({429})
MAYBE_DONE = frozenset({408, 409, 502, 503, 504})


def retry_policy(repeatable: bool, seconds: float, retries: int) -> dict[str, Any]:
    """What tenacity's `Retrying` and `AsyncRetrying` are given for one call that may take `seconds` in all.

    What is tried answers with an `httpx2.Response` or raises `httpx2.HTTPError`; when nothing more is to be tried, the
    last of either is the result.
    """

    def again(state: tenacity.RetryCallState) -> bool:
        assert state.outcome is not None  # noqa: S101 - tenacity asks after an attempt; for the type checker
        error = state.outcome.exception()
        return worth_repeating(error or state.outcome.result(), repeatable)

    return {
        "retry": again,
        "wait": _rest,
        "stop": tenacity.stop_after_attempt(retries + 1) | tenacity.stop_before_delay(seconds),
        "retry_error_callback": _as_it_ended,
    }


def worth_repeating(ended: httpx2.Response | BaseException, repeatable: bool) -> bool:
    """Whether a request that ended so may, and should, be sent again."""
    if not isinstance(ended, httpx2.Response):
        return isinstance(ended, NOT_SENT) or (repeatable and isinstance(ended, httpx2.TransportError))
    stated = ended.headers.get("x-should-retry", "").lower()
    if stated == "false":
        return False
    if ended.status_code in REFUSED_BEFORE:
        return True
    return repeatable and (stated == "true" or ended.status_code in MAYBE_DONE)


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """What `Retry-After` says; None where it says nothing that can be understood."""
    stated = headers.get("retry-after", "").strip()
    if stated.isascii() and stated.isdigit():
        return float(stated[:9])
    try:
        return max(0.0, parsedate_to_datetime(stated).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None


def backoff_seconds(failures: int) -> float:
    """The rest after so many failures in a row, 1 or more."""
    longest = min(LONGEST_REST_SECONDS, FIRST_REST_SECONDS * 2 ** min(failures - 1, 10))
    return random.uniform(longest / 2, longest)  # noqa: S311 - spreads load, guards nothing


def _rest(state: tenacity.RetryCallState) -> float:
    outcome = state.outcome
    failed = outcome is None or outcome.exception() is not None
    stated = None if failed else retry_after_seconds(outcome.result().headers)  # type: ignore[union-attr]
    if stated is None:
        return backoff_seconds(state.attempt_number)
    return stated + random.uniform(0, JITTER_SECONDS)  # noqa: S311


def _as_it_ended(state: tenacity.RetryCallState) -> Any:
    assert state.outcome is not None  # noqa: S101 - see above
    return state.outcome.result()
