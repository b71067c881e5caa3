"""The batch ceiling: down when memory ran out, up again when it sufficed for long."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bowerbird.engine.scheduling.ceiling import MOST_PATIENCE, PATIENCE, BatchCeiling


def full_batches_until_it_rises(ceiling: BatchCeiling) -> int:
    """Batches of exactly as many rows as are allowed; -1 when it never rises."""
    for count in range(1, 2 * MOST_PATIENCE * PATIENCE):
        if ceiling.held(ceiling.rows, 1):
            return count
    return -1


def test_it_is_half_of_what_did_not_fit_and_comes_back_to_the_start() -> None:
    ceiling = BatchCeiling(16)
    ceiling.exceeded(10)
    assert ceiling.rows == 5
    assert full_batches_until_it_rises(ceiling) == PATIENCE
    assert ceiling.rows == 10
    assert full_batches_until_it_rises(ceiling) == PATIENCE
    assert ceiling.rows == 16
    assert full_batches_until_it_rises(ceiling) == -1


def test_batches_that_were_not_full_prove_nothing() -> None:
    ceiling = BatchCeiling(8)
    ceiling.exceeded(8)
    assert not any(ceiling.held(2, 2) for _ in range(2 * PATIENCE))
    assert any(ceiling.held(3, 2) for _ in range(PATIENCE))


def test_a_trial_that_fails_is_waited_for_twice_as_long_the_next_time() -> None:
    ceiling = BatchCeiling(8)
    ceiling.exceeded(8)
    waits = []
    for _ in range(8):
        waits.append(full_batches_until_it_rises(ceiling))
        ceiling.exceeded(8)
    assert waits[:4] == [PATIENCE, 2 * PATIENCE, 4 * PATIENCE, 8 * PATIENCE]
    assert waits[4:] == [MOST_PATIENCE * PATIENCE] * 4


def test_what_held_at_the_start_is_tried_as_early_as_the_first_time() -> None:
    ceiling = BatchCeiling(8)
    for _ in range(2):  # the first trial fails, the second holds
        ceiling.exceeded(8)
        full_batches_until_it_rises(ceiling)
    assert ceiling.rows == 8
    full_batches_until_it_rises(ceiling)
    ceiling.exceeded(8)
    assert full_batches_until_it_rises(ceiling) == PATIENCE


@given(
    start=st.integers(1, 32),
    rows_that_fit=st.integers(1, 32),
    batches=st.lists(st.integers(1, 32), max_size=200),
)
def test_it_stays_between_one_row_and_the_start_and_what_does_not_fit_is_tried_ever_less(
    start: int, rows_that_fit: int, batches: list[int]
) -> None:
    ceiling = BatchCeiling(start, patience=2)
    failed = 0
    for wanted in batches:
        rows = min(wanted, ceiling.rows)
        if rows > rows_that_fit:
            failed += 1
            ceiling.exceeded(rows)
        else:
            ceiling.held(rows, 1)
        assert 1 <= ceiling.rows <= start
    # Halving to what fits at first, then a trial after 2, 4, 8, ... full batches.
    assert failed <= start.bit_length() + len(batches) // 3


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_the_smallest_batch_is_one_row(rows: int) -> None:
    ceiling = BatchCeiling(rows)
    for _ in range(3):
        ceiling.exceeded(rows)
    assert ceiling.rows == 1
