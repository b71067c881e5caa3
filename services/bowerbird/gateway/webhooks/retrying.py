"""When an attempt that failed is made again: exponential backoff with full jitter, for a day.

Full jitter (any time up to the bound, which doubles) is what keeps a receiver that comes back from being met by all
that waited at once (M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015). The bounds are 10 s,
20 s, 40 s … an hour, reached at the tenth attempt: some fifty attempts in a day.
"""

from __future__ import annotations

from tenacity import RetryCallState, Retrying, wait_random_exponential

FIRST_BOUND_SECONDS = 10.0
LONGEST_SECONDS = 3600.0
SHORTEST_SECONDS = 5.0
GIVE_UP_HOURS = 24

_WAIT = wait_random_exponential(multiplier=FIRST_BOUND_SECONDS, max=LONGEST_SECONDS, min=SHORTEST_SECONDS)
_RETRYING = Retrying(wait=_WAIT)


def rest_seconds(attempt: int, asked_for: float = 0.0) -> float:
    """How long to rest after the `attempt`-th (from 1) failed, and not shorter than the receiver asked for."""
    state = RetryCallState(_RETRYING, None, (), {})
    state.attempt_number = attempt
    return max(_WAIT(state), asked_for)
