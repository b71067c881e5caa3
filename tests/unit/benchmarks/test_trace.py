from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.engine.trace import TIGHT_FACTOR, Mix, make_trace
from bowerbird.contracts import Size

SIZES = (Size(width=256, height=256), Size(width=192, height=192))
MIX = Mix(SIZES, ("a", "b", "c"), 2.5, step_seconds=(0.06, 0.03), rest_seconds=(0.05, 0.03))


def test_the_same_seed_gives_the_same_trace() -> None:
    assert make_trace(MIX, 3, 2.0, 60.0) == make_trace(MIX, 3, 2.0, 60.0)
    assert make_trace(MIX, 3, 2.0, 60.0) != make_trace(MIX, 4, 2.0, 60.0)


def test_the_mix_is_the_stated_one() -> None:
    asks = make_trace(MIX, 0, 10.0, 1000.0)
    assert abs(len(asks) - 10_000) < 400
    assert {ask.steps for ask in asks} == set(range(1, 31))
    assert {ask.size for ask in asks} == set(SIZES)
    assert {ask.lora for ask in asks} == {None, "a", "b", "c"}
    assert abs(np.mean([ask.leaves_after is not None for ask in asks]) - 0.10) < 0.015
    assert abs(np.mean([ask.tight for ask in asks]) - 0.20) < 0.02
    assert abs(np.mean([ask.lora is not None for ask in asks]) - 0.50) < 0.02


def test_arrivals_are_a_poisson_process() -> None:
    gaps = np.diff([ask.arrival for ask in make_trace(MIX, 1, 5.0, 2000.0)])
    assert abs(gaps.mean() - 0.2) < 0.01
    assert abs(gaps.std() - 0.2) < 0.01


def test_a_tight_deadline_is_a_multiple_of_the_time_alone() -> None:
    asks = [ask for ask in make_trace(MIX, 2, 5.0, 100.0) if ask.tight and ask.steps > 5]
    for ask in asks:
        which = SIZES.index(ask.size)
        alone = MIX.step_seconds[which] * ask.steps + MIX.rest_seconds[which]
        assert np.isclose(ask.deadline_seconds, TIGHT_FACTOR * alone)


@given(seed=st.integers(0, 2**32), rate=st.floats(0.1, 20), seconds=st.floats(1, 30))
def test_every_request_arrives_within_the_trace_and_in_order(seed: int, rate: float, seconds: float) -> None:
    asks = make_trace(MIX, seed, rate, seconds)
    arrivals = [ask.arrival for ask in asks]
    assert arrivals == sorted(arrivals)
    assert all(0 < arrival < seconds for arrival in arrivals)
    assert all(ask.deadline_seconds > 0 and ask.seed >= 0 for ask in asks)
