"""Which candidate is the best of its image: hard facts first, then weighted comparisons, then ties.

Called by `judging` with plain numbers; knows neither pixels nor models. Two candidates are compared measure by
measure: a difference counts from -1 to 1 in proportion to the measure's noise, and fully from there on. So a lead of
any size counts once (as in a Borda count: no measure's scale can drown the others) and a difference that means nothing
counts little. A candidate's total is its mean comparison with the others, 0 to 1.

Promises: renumbering the candidates renumbers the answer and changes nothing else; equal candidates have equal totals
and tie; a rejected candidate never stands before one that is not, and one that repeats an earlier image's choice never
before one that does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from bowerbird.contracts import Ranking
from bowerbird.curation.measures import Scale

TIE_MARGIN = 0.2
"""Weighted comparison of the first two under which they tie, 0 to 1.

Of pairs that differ by what nobody sees (see `measures`) at most one in twenty should lie further apart. That is 0.12
by `benchmarks/curation.py --calibrate` where the judge sees no difference; the rest is left for what it does see.
"""

Values = NDArray[np.float64]


class Standing(IntEnum):
    """What hard facts say of a candidate, best first."""

    CLEAN = 0
    DUPLICATE = 1
    REJECTED = 2


@dataclass(frozen=True, slots=True)
class Candidate:
    """One frame of an image: its number in the request, its values in the order of the measures, its standing."""

    index: int
    values: tuple[float, ...]
    standing: Standing


def totals(candidates: Sequence[Candidate], measures: Sequence[Scale]) -> list[float]:
    """What each candidate is ranked by, 0 (loses every comparison) to 1; 0.5 for one that is alone."""
    if len(candidates) == 1:
        return [0.5]
    wins = _comparisons(candidates, measures).sum(axis=1) / (len(candidates) - 1)
    # Rounded, so that equal candidates stay equal whatever the order of the additions was.
    return [round(float((1 + win) / 2), 9) for win in wins]


def rank(image: int, candidates: Sequence[Candidate], measures: Sequence[Scale]) -> Ranking:
    """The candidates of one image, best first; among equals the one with the smaller index."""
    by_total = totals(candidates, measures)
    order = sorted(range(len(candidates)), key=lambda i: (candidates[i].standing, -by_total[i], candidates[i].index))
    margin, tie = _margin([candidates[i] for i in order[:2]], measures)
    return Ranking(image=image, order=[candidates[i].index for i in order], margin=margin, tie=tie)


def _margin(leaders: Sequence[Candidate], measures: Sequence[Scale]) -> tuple[float, bool]:
    """How clearly the first beats the second, 0 to 1, and whether that is too little to mean anything."""
    if len(leaders) == 1:
        return 0.0, False
    first, second = leaders
    if first.standing != second.standing:
        return 1.0, False
    margin = round(max(0.0, float(_comparisons(leaders, measures)[0, 1])), 9)
    return margin, margin < TIE_MARGIN


def _comparisons(candidates: Sequence[Candidate], measures: Sequence[Scale]) -> Values:
    """Row against column, -1 to 1, antisymmetric: `[k, k]`."""
    weighed = [(i, measure) for i, measure in enumerate(measures) if measure.weight > 0]
    values = np.array([[candidate.values[i] for i, _ in weighed] for candidate in candidates], dtype=np.float64)
    signs = np.array([1.0 if measure.direction == "higher_is_better" else -1.0 for _, measure in weighed])
    noise = np.array([measure.noise for _, measure in weighed])
    weights = np.array([measure.weight for _, measure in weighed])
    leads = np.clip((values[:, None, :] - values[None, :, :]) * signs / noise, -1.0, 1.0)
    return np.asarray((leads * weights).sum(axis=-1) / weights.sum())
