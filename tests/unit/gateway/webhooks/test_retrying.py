"""Attempts are made again at growing, random intervals, and not before the receiver wants them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bowerbird.gateway.webhooks.retrying import LONGEST_SECONDS, SHORTEST_SECONDS, rest_seconds


@given(st.integers(1, 10_000), st.floats(0, 3600))
def test_a_rest_is_within_its_bounds(attempt: int, asked_for: float) -> None:
    bound = min(10 * 2.0 ** min(attempt - 1, 20), LONGEST_SECONDS)
    rest = rest_seconds(attempt, asked_for)
    assert max(SHORTEST_SECONDS, asked_for) <= rest <= max(bound, asked_for)


def test_receivers_that_failed_together_are_not_met_together() -> None:
    assert len({rest_seconds(10) for _ in range(100)}) > 90
