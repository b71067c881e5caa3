"""The plan of a run is its seed's and nothing else's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from .plan import EVERYTHING, GATEWAYS, KILLS, STAGES, FaultKind, Kind, Means, Setup, make_plan

WHOLE = Means(small_disk=True, s3=True)


@given(seed=st.integers(min_value=0), setup=st.sampled_from(Setup))
def test_a_seed_is_one_plan(seed: int, setup: Setup) -> None:
    assert make_plan(seed, setup, 60, 9, WHOLE) == make_plan(seed, setup, 60, 9, WHOLE)


@given(seed=st.integers(min_value=0), setup=st.sampled_from(Setup))
def test_prompts_that_a_job_keeps_are_never_asked_without_one(seed: int, setup: Setup) -> None:
    operations = make_plan(seed, setup, 200, 0, WHOLE).operations
    words = {True: set[str](), False: set[str]()}
    for each in operations:
        words[each.kind.keeps].add(each.recipe.word if each.recipe else each.word)
    assert not words[True] & words[False]


@given(seed=st.integers(min_value=0), setup=st.sampled_from(Setup), count=st.integers(0, 60))
def test_no_service_is_killed_so_often_that_its_supervisor_gives_up(seed: int, setup: Setup, count: int) -> None:
    faults = make_plan(seed, setup, 300, count, WHOLE).faults
    assert [each.before for each in faults] == sorted(each.before for each in faults)
    for first, second, third in zip(faults, faults[1:], faults[2:], strict=False):
        killed = [each.target for each in (first, second, third) if each.kind in KILLS]
        assert len(killed) == len(set(killed))


@pytest.mark.parametrize("setup", Setup)
def test_a_long_run_has_everything_that_can_break_and_be_asked(setup: Setup) -> None:
    plan = make_plan(7, setup, 1_050, 54, WHOLE)
    assert {each.kind for each in plan.operations} == set(Kind)
    targets = {each.target for each in plan.faults}
    assert targets >= {*GATEWAYS[: setup.gateways], *STAGES, EVERYTHING}
    assert {each.kind for each in plan.faults} >= {FaultKind.KILL, FaultKind.PAUSE, FaultKind.LINK}
