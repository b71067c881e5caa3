from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.engine.goodput import Ended, Outcome, percentile, score


def ended(outcome: Outcome, seconds: float, deadline: float = 10.0, tight: bool = False) -> Ended:
    return Ended(outcome, seconds, deadline, tight)


def test_goodput_counts_what_arrived_in_time_and_nothing_else() -> None:
    result = score(
        [
            ended(Outcome.DRAWN, 1.0),
            ended(Outcome.DRAWN, 11.0),
            ended(Outcome.REFUSED, 0.1),
            ended(Outcome.FAILED, 2.0),
            ended(Outcome.LEFT, 0.5),
            ended(Outcome.DRAWN, 0.5, deadline=1.0, tight=True),
        ],
        seconds=4.0,
    )
    assert (result.asked, result.in_time, result.late, result.refused, result.failed) == (5, 2, 1, 1, 1)
    assert result.goodput == 0.5


def test_refusing_fast_does_not_look_fast() -> None:
    quick = score([ended(Outcome.REFUSED, 0.01)] * 10, 1.0)
    assert quick.p50_seconds == quick.p99_seconds == 10.0


def test_latencies_are_those_of_ordinary_requests() -> None:
    result = score([ended(Outcome.DRAWN, 3.0), ended(Outcome.DRAWN, 0.1, 0.2, tight=True)], 1.0)
    assert result.p50_seconds == 3.0


@pytest.mark.parametrize(("percent", "expected"), [(0, 1), (1, 1), (50, 50), (99, 99), (99.5, 100), (100, 100)])
def test_percentiles_are_of_nearest_rank(percent: float, expected: float) -> None:
    assert percentile([float(value) for value in range(100, 0, -1)], percent) == expected


def test_the_percentile_of_nothing_is_not_a_number() -> None:
    assert math.isnan(percentile([], 99))


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0, 100))
def test_a_percentile_is_one_of_the_values_and_bounds_its_share(values: list[float], percent: float) -> None:
    found = percentile(values, percent)
    assert found in values
    assert sum(value <= found for value in values) >= percent / 100 * len(values) - 1e-6
