"""The wait that is told, against the same queue played to its end."""

from __future__ import annotations

import heapq

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bowerbird.gateway.admission.estimate import Overrun, Progress, ServiceRate, units_until_a_slot


def played(remaining: list[float], slots: int, ahead: list[float]) -> float:
    """When a slot is there for the one after `ahead`, one unit a second."""
    ends = sorted(remaining)[-slots:]
    ends = [0.0] * (slots - len(ends)) + ends
    heapq.heapify(ends)
    for cost in ahead:
        heapq.heapreplace(ends, ends[0] + cost)
    return ends[0]


@given(
    remaining=st.lists(st.floats(0, 50), max_size=12),
    slots=st.integers(1, 8),
    count=st.integers(0, 60),
    cost=st.floats(0.1, 50),
)
def test_equal_requests_wait_exactly_as_long_as_list_scheduling_says(
    remaining: list[float], slots: int, count: int, cost: float
) -> None:
    assert units_until_a_slot(remaining, slots, count, count * cost) == pytest.approx(
        played(remaining, slots, [cost] * count)
    )


@given(
    remaining=st.lists(st.floats(0, 10), max_size=8),
    slots=st.integers(1, 8),
    ahead=st.lists(st.floats(0.1, 10), max_size=60),
)
def test_unequal_requests_are_off_by_no_more_than_the_largest(
    remaining: list[float], slots: int, ahead: list[float]
) -> None:
    estimate = units_until_a_slot(remaining, slots, len(ahead), sum(ahead))
    assert abs(estimate - played(remaining, slots, ahead)) <= 10 + 1e-6


def held(rate: ServiceRate, cost: float, began: float, ended: float) -> None:
    """One request that holds a slot from `began` to `ended`."""
    before = rate.saturated_seconds(began)
    rate.finished(cost, ended - began, rate.saturated_seconds(ended) - before)


def test_rate_is_measured_only_while_somebody_waits() -> None:
    rate = ServiceRate()
    held(rate, 100.0, 0.0, 1.0)
    assert rate.of_slot(None) is None

    rate.saturated(True, 10.0)
    held(rate, 6.0, 10.0, 13.0)
    assert rate.of_slot(None) == pytest.approx(2.0)


def test_a_request_that_was_only_partly_in_company_counts_by_that_part() -> None:
    rate = ServiceRate()
    before = rate.saturated_seconds(0.0)
    rate.saturated(True, 8.0)
    rate.saturated(False, 10.0)
    rate.finished(20.0, 20.0, rate.saturated_seconds(20.0) - before)
    rate.saturated(True, 20.0)
    held(rate, 9.0, 20.0, 23.0)

    assert rate.of_slot(None) == pytest.approx((2 + 9) / (2 + 3), rel=0.03)


def test_what_is_said_beforehand_gives_way_to_what_is_measured() -> None:
    rate = ServiceRate()
    assert rate.of_slot(3.0) == 3.0
    rate.saturated(True, 0.0)
    for second in range(100):
        held(rate, 1.0, second, second + 1.0)

    assert rate.of_slot(3.0) == pytest.approx(1.0, rel=0.05)


def test_old_measurements_fade() -> None:
    rate = ServiceRate()
    rate.saturated(True, 0.0)
    for second in range(600):
        held(rate, 1.0 if second < 200 else 5.0, second, second + 1.0)

    assert rate.of_slot(None) == pytest.approx(5.0, rel=0.05)


def test_requests_slow_each_other_down_beyond_half_of_the_slots() -> None:
    progress = Progress()
    assert progress.at(0.0, rate=1.0, slots=8, taken=1) == 0.0
    assert progress.at(10.0, rate=1.0, slots=8, taken=1) == 20.0
    assert progress.at(20.0, rate=1.0, slots=8, taken=4) == 40.0
    assert progress.at(30.0, rate=1.0, slots=8, taken=8) == 50.0
    assert progress.at(40.0, rate=1.0, slots=8, taken=0) == 50.0


@given(st.lists(st.floats(-5, 5), max_size=50))
def test_an_overrun_is_never_negative_and_never_more_than_was_seen(seen: list[float]) -> None:
    overrun = Overrun()
    for seconds in seen:
        overrun.took(seconds)
    assert 0 <= overrun.seconds <= max([0.0, *seen])


def test_an_overrun_settles_near_what_few_exceed() -> None:
    dice, overrun, later = np.random.default_rng(1), Overrun(), list[float]()
    for number, seconds in enumerate(dice.exponential(1.0, 4000).tolist()):
        if number > 500:
            later.append(float(seconds > overrun.seconds))
        overrun.took(seconds)
    assert 0.05 < np.mean(later) < 0.25
