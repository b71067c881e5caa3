"""The plan of the cycles: the same for a seed, and everybody's turn comes."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from .cycle_plan import Moment, Victim, Way, plan

SEEDS = st.integers(0, 2**32)


@given(SEEDS, st.integers(0, 60), st.integers(0, 60))
def test_a_longer_plan_begins_as_a_shorter_one(seed: int, one: int, other: int) -> None:
    shorter, longer = sorted((plan(seed, one), plan(seed, other)), key=len)
    assert longer[: len(shorter)] == shorter
    assert [each.number for each in longer] == list(range(1, len(longer) + 1))


@given(SEEDS)
def test_each_victim_has_its_turn_in_each_round(seed: int) -> None:
    counts = Counter(each.victim for each in plan(seed, 5 * len(Victim)))
    assert counts == dict.fromkeys(Victim, 5)


@given(SEEDS)
def test_whoever_is_stopped_is_back_within_five_seconds(seed: int) -> None:
    assert all(0 < each.stop_seconds < 5 for each in plan(seed, 30))


def test_a_hundred_cycles_have_every_way_and_every_moment() -> None:
    met = {(each.way, each.moment) for each in plan(1, 100)}
    assert met == {(way, moment) for way in Way for moment in Moment}
