"""One flow's order: as few late as can be, nobody kept becomes late, and short before long where there is time."""

from __future__ import annotations

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from bowerbird.engine.scheduling.deadlines import fewest_late, in_order
from bowerbird.engine.scheduling.work import Bucket, Claim, Shape, Work

ALONE = Shape(Bucket((4, 8, 8)), rows=1, calls=1)
Timed = Work[float]


def work(seconds: float, deadline: float) -> Timed:
    """Work that takes so long; its owner is what it still takes."""
    return Work(seconds, ALONE, Claim(deadline), 0.0)


def remaining(each: Timed) -> float:
    return each.owner


def order(works: list[Timed], now: float = 0.0, speed: float = 1.0) -> list[Timed]:
    return in_order(works, now, remaining, remaining, speed)


def can_all_be_in_time(works: list[Timed]) -> bool:
    """By deadlines, which is in time whenever any order is (Jackson, 1955)."""
    now = 0.0
    for each in sorted(works, key=lambda each: each.claim.deadline):
        now += each.owner
        if now > each.claim.deadline:
            return False
    return True


WORKS = st.lists(st.builds(work, st.integers(1, 9), st.integers(1, 30)), max_size=7)


@given(works=WORKS)
def test_no_fewer_could_be_given_up(works: list[Timed]) -> None:
    late = fewest_late(sorted(works, key=lambda each: each.claim.deadline), 0.0, remaining)
    assert can_all_be_in_time([each for each in works if each not in late])
    for kept in combinations(works, len(works) - len(late) + 1):
        assert not can_all_be_in_time(list(kept))


@given(works=WORKS, piece=st.integers(1, 4))
def test_whoever_was_kept_ends_in_time_when_nobody_else_comes(works: list[Timed], piece: int) -> None:
    late = fewest_late(sorted(works, key=lambda each: each.claim.deadline), 0.0, remaining)
    now, waiting = 0.0, list(works)
    while waiting:
        first = order(waiting, now)[0]
        seconds = min(piece, first.owner)
        now, first.owner = now + seconds, first.owner - seconds
        if not first.owner:
            waiting.remove(first)
            assert first in late or now <= first.claim.deadline


@given(works=WORKS, speed=st.sampled_from([0.25, 0.5, 1.0]))
def test_everybody_has_a_place_and_the_late_the_last(works: list[Timed], speed: float) -> None:
    line = order(works, 0.0, speed)
    late = fewest_late(sorted(works, key=lambda each: each.claim.deadline), 0.0, remaining, speed)
    assert set(line) == set(works)
    assert set(line[len(line) - len(late) :]) == late


def test_short_work_goes_first_while_there_is_time_and_waits_when_there_is_not() -> None:
    long, short = work(8.0, 10.0), work(3.0, 30.0)
    assert order([long, short]) == [long, short]
    long.claim = Claim(12.0)
    assert order([long, short]) == [short, long]


def test_half_a_model_meets_fewer_deadlines() -> None:
    works = [work(2.0, 4.0), work(2.0, 5.0)]
    assert fewest_late(works, 0.0, remaining, speed=1.0) == set()
    assert len(fewest_late(works, 0.0, remaining, speed=0.5)) == 1
