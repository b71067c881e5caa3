"""What pieces cost: interpolated, carried over to other sizes, kept up to date."""

from __future__ import annotations

import pytest

from bowerbird.engine.scheduling.costs import COLD, CostTable
from bowerbird.engine.scheduling.work import Bucket, Stage

SMALL, LARGE = Bucket((4, 8, 8)), Bucket((4, 16, 16))


@pytest.fixture
def costs() -> CostTable:
    table = CostTable()
    table.observe(Stage.STEP, SMALL, 2, 4.0)
    table.observe(Stage.STEP, SMALL, 4, 6.0)
    return table


@pytest.mark.parametrize(("rows", "seconds"), [(1, 2.0), (2, 4.0), (3, 5.0), (4, 6.0), (8, 12.0)])
def test_rows_are_interpolated_and_beyond_the_measured_ones_proportional(
    costs: CostTable, rows: int, seconds: float
) -> None:
    assert costs.seconds(Stage.STEP, SMALL, rows) == pytest.approx(seconds)


def test_a_size_that_was_never_measured_costs_by_its_pixels(costs: CostTable) -> None:
    assert costs.seconds(Stage.STEP, LARGE, 2) == pytest.approx(16.0)


def test_the_graph_with_lora_is_taken_for_the_plain_one_until_it_was_measured(costs: CostTable) -> None:
    with_lora = Bucket(SMALL.shape, lora=True)
    assert costs.seconds(Stage.STEP, with_lora, 2) == pytest.approx(4.0)
    costs.observe(Stage.STEP, with_lora, 2, 5.0)
    assert costs.seconds(Stage.STEP, with_lora, 2) == pytest.approx(5.0)
    assert costs.seconds(Stage.STEP, SMALL, 2) == pytest.approx(4.0)


def test_what_was_never_computed_costs_nothing_yet(costs: CostTable) -> None:
    assert costs.seconds(Stage.DECODE, SMALL, 1) == 0


def test_a_lasting_change_is_learned_and_a_single_pause_hardly_moves_it(costs: CostTable) -> None:
    costs.observe(Stage.STEP, SMALL, 2, 1000.0)
    assert costs.seconds(Stage.STEP, SMALL, 2) <= 1.2 * 4.0 + 1e-9
    for _ in range(40):
        costs.observe(Stage.STEP, SMALL, 2, 8.0)
    assert costs.seconds(Stage.STEP, SMALL, 2) == pytest.approx(8.0, rel=0.01)


@pytest.mark.parametrize(
    ("curve", "best"),
    [
        ({1: 1.0, 2: 1.9, 4: 3.8, 8: 7.6}, 1),
        ({1: 1.0, 2: 1.1, 4: 1.4, 8: 2.7}, 4),
        ({1: 1.0, 2: 1.0, 4: 1.0, 8: 1.0}, 8),
    ],
)
def test_the_largest_batch_that_pays_is_the_last_whose_rows_got_clearly_cheaper(
    curve: dict[int, float], best: int
) -> None:
    table = CostTable()
    for rows, seconds in curve.items():
        table.observe(Stage.STEP, SMALL, rows, seconds)
    assert table.efficient_rows(SMALL, ceiling=8) == best


def test_the_unit_is_one_row_of_the_first_measurement(costs: CostTable) -> None:
    assert costs.unit_seconds == 2.0


def test_prompts_cost_the_same_at_every_size(costs: CostTable) -> None:
    costs.observe(Stage.ENCODE, SMALL, 1, 0.5)
    assert costs.seconds(Stage.ENCODE, LARGE, 1) == pytest.approx(0.5)


def test_a_guided_picture_is_decoded_once(costs: CostTable) -> None:
    costs.observe(Stage.DECODE, SMALL, 1, 0.5)
    assert costs.seconds(Stage.DECODE, SMALL, 2) == pytest.approx(0.5)


def test_units_are_rows_of_the_first_measurement(costs: CostTable) -> None:
    assert costs.units(Stage.STEP, SMALL, 2) == pytest.approx(1.0)
    assert costs.units(Stage.STEP, SMALL, 4) == pytest.approx(0.75)
    assert costs.units(Stage.STEP, LARGE, 4) == pytest.approx(3.0)


def test_a_cold_measurement_counts_for_part_of_itself_until_the_first_warm_one() -> None:
    table = CostTable()
    table.observe(Stage.STEP, SMALL, 2, 20.0, cold=True)
    assert table.seconds(Stage.STEP, SMALL, 2) == pytest.approx(20.0 / COLD)
    assert table.seconds(Stage.STEP, LARGE, 2) == pytest.approx(4 * 20.0 / COLD)
    for warm in (18.0, 18.0):
        table.observe(Stage.STEP, SMALL, 1, warm)
        assert table.seconds(Stage.STEP, SMALL, 2) == pytest.approx(36.0)
        assert table.unit_seconds == pytest.approx(18.0)
    table.observe(Stage.STEP, SMALL, 1, 9.0)
    assert table.unit_seconds == pytest.approx(18.0)  # as it was at the start
