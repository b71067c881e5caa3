"""The choice of the best candidate: what may never depend on chance or on the order of arrival."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bowerbird.curation.measures import Measure
from bowerbird.curation.ranking import TIE_MARGIN, Candidate, Standing, rank, totals


def measure(name: str, weight: float, noise: float = 0.05, *, lower: bool = False) -> Measure:
    direction = "lower_is_better" if lower else "higher_is_better"
    return Measure(name, "1", direction, 0.0, 1.0, of=lambda _: 0.0, weight=weight, noise=noise)  # type: ignore[arg-type]


MEASURES = (measure("match", 0.7), measure("sharp", 0.2), measure("banding", 0.1, lower=True), measure("told", 0.0))

value = st.floats(0, 1).map(lambda x: round(x, 3))
candidate_values = st.tuples(value, value, value, value)
described = st.lists(st.tuples(candidate_values, st.sampled_from(list(Standing))), min_size=1, max_size=8)


def candidates(described: list[tuple[tuple[float, ...], Standing]]) -> list[Candidate]:
    return [Candidate(index, values, standing) for index, (values, standing) in enumerate(described)]


def clean(*values: tuple[float, ...]) -> list[Candidate]:
    return candidates([(each, Standing.CLEAN) for each in values])


@given(described, st.randoms(use_true_random=False))
def test_renumbering_the_candidates_renumbers_the_answer_and_nothing_else(
    given_candidates: list[tuple[tuple[float, ...], Standing]], random: np.random.Generator
) -> None:
    order = list(range(len(given_candidates)))
    random.shuffle(order)
    before, after = candidates(given_candidates), candidates([given_candidates[i] for i in order])
    assert [totals(before, MEASURES)[i] for i in order] == totals(after, MEASURES)
    first, second = rank(0, before, MEASURES), rank(0, after, MEASURES)
    assert [_key(before, i) for i in first.order] == [_key(after, i) for i in second.order]


def _key(all_candidates: list[Candidate], index: int) -> tuple[Standing, float]:
    return all_candidates[index].standing, totals(all_candidates, MEASURES)[index]


@given(described)
def test_a_rejected_candidate_is_never_first_when_a_clean_one_exists(
    given_candidates: list[tuple[tuple[float, ...], Standing]],
) -> None:
    all_candidates = candidates(given_candidates)
    best = rank(0, all_candidates, MEASURES).order[0]
    assert all_candidates[best].standing == min(candidate.standing for candidate in all_candidates)


@given(described)
def test_a_ranking_names_every_candidate_once_and_its_margin_is_a_share(
    given_candidates: list[tuple[tuple[float, ...], Standing]],
) -> None:
    ranking = rank(3, candidates(given_candidates), MEASURES)
    assert sorted(ranking.order) == list(range(len(given_candidates)))
    assert 0 <= ranking.margin <= 1
    assert ranking.image == 3


@given(candidate_values, candidate_values)
def test_two_candidates_differ_by_the_same_margin_in_either_order(
    one: tuple[float, ...], other: tuple[float, ...]
) -> None:
    forth, back = rank(0, clean(one, other), MEASURES), rank(0, clean(other, one), MEASURES)
    assert (forth.margin, forth.tie) == (back.margin, back.tie)


@given(candidate_values, st.integers(2, 8))
def test_equal_candidates_tie_and_the_first_one_is_taken(values: tuple[float, ...], count: int) -> None:
    ranking = rank(0, clean(*[values] * count), MEASURES)
    assert ranking.tie
    assert ranking.margin == 0
    assert ranking.order == list(range(count))


@given(described, st.sampled_from([0, 1]))
def test_a_better_value_never_costs_a_candidate_places(
    given_candidates: list[tuple[tuple[float, ...], Standing]], which: int
) -> None:
    before = candidates(given_candidates)
    values = list(before[0].values)
    values[which] = 1.0
    after = [Candidate(0, tuple(values), before[0].standing), *before[1:]]
    assert rank(0, after, MEASURES).order.index(0) <= rank(0, before, MEASURES).order.index(0)


def test_a_clear_match_beats_everything_else_together() -> None:
    ranking = rank(0, clean((0.5, 1.0, 0.0, 1.0), (0.9, 0.0, 1.0, 0.0)), MEASURES)
    assert ranking.order == [1, 0]
    assert not ranking.tie
    assert ranking.margin == pytest.approx(0.4)


def test_a_lead_within_the_noise_is_a_tie() -> None:
    ranking = rank(0, clean((0.80, 0.5, 0.2, 0.0), (0.81, 0.5, 0.2, 0.0)), MEASURES)
    assert ranking.order == [1, 0]
    assert ranking.tie
    assert 0 < ranking.margin < TIE_MARGIN


def test_a_measure_without_weight_decides_nothing() -> None:
    assert rank(0, clean((0.8, 0.5, 0.2, 0.0), (0.8, 0.5, 0.2, 1.0)), MEASURES).margin == 0


def test_a_hard_fact_is_no_tie_however_close_the_scores_are() -> None:
    both = [Candidate(0, (0.8, 0.5, 0.2, 0.0), Standing.REJECTED), Candidate(1, (0.8, 0.5, 0.2, 0.0), Standing.CLEAN)]
    ranking = rank(0, both, MEASURES)
    assert (ranking.order, ranking.margin, ranking.tie) == ([1, 0], 1.0, False)


def test_a_candidate_that_is_alone_neither_wins_nor_ties() -> None:
    ranking = rank(0, clean((0.1, 0.1, 0.1, 0.1)), MEASURES)
    assert totals(clean((0.1, 0.1, 0.1, 0.1)), MEASURES) == [0.5]
    assert (ranking.margin, ranking.tie) == (0.0, False)
