"""C6 in slices: stopped after each and called again, it plays every trace once and comes to the same table."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import pytest

from benchmarks.engine import mixed_load, models
from benchmarks.engine.contest import OURS, SETTINGS, Capacity, Contest, Planned
from benchmarks.engine.environments import PeerMissing
from benchmarks.engine.goodput import Ended, Outcome
from benchmarks.engine.scale import Scale
from benchmarks.engine.slices import TimeIsUp
from benchmarks.report import Row

ASKED = 200
PACE = {OURS: (1.0, 1.0), "BentoML": (1.0, 5.0), "LitServe": (3.0, 3.0)}
"""Seconds that every other of a contender's pictures takes here, by its second setting; above 3.5 it is late at 110 %,
and by any other setting it always is."""

Plays = list[tuple[str, Planned, tuple[tuple[str, str], ...]]]


@pytest.fixture
def plays(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Plays:
    """What was played, in its order; nothing is served."""
    played: Plays = []

    def play(_: Contest, name: str, settings: Mapping[str, str], planned: Planned) -> list[Ended]:
        played.append((name, planned, tuple(settings.items())))
        pace = PACE[name] if settings is SETTINGS[name][1] else (9.0, 9.0)
        deadline = 3.5 if planned.load > 1 else 10.0
        return [Ended(Outcome.DRAWN, seconds, deadline, False) for seconds in pace] * (ASKED // 2)

    monkeypatch.setattr(Contest, "play", play)
    monkeypatch.setattr(models, "two_sizes", lambda _: tiny)
    monkeypatch.setattr(models, "fledgling", lambda bundle: bundle)
    monkeypatch.setattr(mixed_load, "measure_capacity", lambda *_: Capacity(2.0, (0.01, 0.01), (0.1, 0.1)))
    return played


def in_slices(scale: Scale) -> tuple[list[Row], int]:
    """The rows, and how often it had to be called."""
    calls = 0
    while True:
        calls += 1
        try:
            return list(mixed_load.measure(scale)), calls
        except TimeIsUp:
            assert calls < 100


def test_a_row_in_slices_is_the_row_at_once(tiny: Path, plays: Plays) -> None:
    whole = list(mixed_load.measure(Scale(tiny)))
    at_once = plays.copy()
    plays.clear()
    sliced, calls = in_slices(Scale(tiny, run_seconds=0.0))
    assert sliced == whole
    assert plays == at_once
    assert len(set(plays)) == len(plays)
    assert calls == len(plays) + 1  # and the capacity


def test_each_plays_its_best_setting_and_the_better_peer_is_the_measure(tiny: Path, plays: Plays) -> None:
    rows = list(mixed_load.measure(Scale(tiny)))
    for name, planned, settings in plays:
        if planned.seed >= 100:
            assert settings == tuple(SETTINGS[name][1].items())
    verdicts = {row.what: (row.figure, row.holds) for row in rows[-3:]}
    assert verdicts == {
        "goodput at 110 %": ("1.00x", False),  # LitServe is in time, BentoML half the time
        "p99 at 80 %": ("0.33x", True),
        "at 50 %": ("goodput 1.00x, p99 0.33x", True),
    }


def test_a_trace_above_capacity_is_long_enough_for_its_queue_to_outgrow_patience(tiny: Path, plays: Plays) -> None:
    list(mixed_load.measure(Scale(tiny)))
    lengths = {planned.load: planned.seconds for _, planned, _ in plays if planned.seed >= 100}
    assert lengths == {0.5: 60.0, 0.8: 60.0, 1.1: 120.0}


def test_who_cannot_be_had_is_missing_and_nobody_wins_against_nobody(
    tiny: Path, plays: Plays, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = Contest.play

    def play(contest: Contest, name: str, settings: Mapping[str, str], planned: Planned) -> list[Ended]:
        if name != OURS:
            raise PeerMissing(f"{name} is not here")
        return alone(contest, name, settings, planned)

    monkeypatch.setattr(Contest, "play", play)
    rows = list(mixed_load.measure(Scale(tiny)))
    assert {row.backend for row in rows[:-3]} == {OURS}
    assert [(row.figure, row.holds) for row in rows[-3:]] == [(None, None)] * 3


def test_a_p99_of_few_says_so(tiny: Path, plays: Plays, monkeypatch: pytest.MonkeyPatch) -> None:
    few = [Ended(Outcome.DRAWN, 1.0, 10.0, False)] * 49 + [Ended(Outcome.LEFT, 0.1, 10.0, False)] * 60
    monkeypatch.setattr(Contest, "play", lambda *_: few)
    rows = list(mixed_load.measure(Scale(tiny)))
    assert [("few counted: the p99 is of 98" in row.note) for row in rows[:3]] == [True] * 3
    assert math.isclose(float((rows[0].figure or "").split("p99 ")[1].split()[0]), 1.0)
