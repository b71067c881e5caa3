"""The rows of `benchmarks.animation`: that they work, never how fast."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.animation.__main__ import ROWS, WITHOUT_A_MODEL
from benchmarks.engine.scale import Scale
from benchmarks.rows import measured
from bowerbird.contracts import ClipFormat


def test_every_format_is_encoded_and_looked_at(tmp_path: Path) -> None:
    rows = list(measured(ROWS, "A3", Scale(tmp_path, small=True)))
    assert [row.holds for row in rows] == [None] * 4, "a small run proves nothing about a goal"
    assert all(row.figure for row in rows)
    for name in ClipFormat:
        assert any(f"as {name.value}," in row.what for row in rows)


@pytest.mark.parametrize("name", sorted(set(ROWS) - set(WITHOUT_A_MODEL)))
def test_without_a_model_that_moves_a_row_says_that_it_was_not_measured(name: str, tmp_path: Path) -> None:
    (row,) = measured(ROWS, name, Scale(tmp_path / "no-such-bundle", small=True))
    assert (row.figure, row.holds) == (None, None)
    assert "no-such-bundle" in row.note
