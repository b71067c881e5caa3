"""A long row stops when it must and goes on where it stopped, as long as it measures the same thing."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from benchmarks.engine import environments
from benchmarks.engine.slices import Slices, TimeIsUp

FACTS = {"bundle": "sha256:0", "load_seconds": 60.0}


@pytest.fixture(autouse=True)
def sources(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """One source file instead of the tree's."""
    folder = tmp_path / "benchmarks" / "engine"
    folder.mkdir(parents=True)
    (folder / "load.py").write_text("one = 1\n")
    monkeypatch.setattr(environments, "ROOT", tmp_path)
    return folder


class Measuring:
    """Counts what was measured."""

    def __init__(self) -> None:
        self.measured: list[str] = []

    def get(self, slices: Slices, name: str, seconds: float = 1.0) -> object:
        def measure() -> object:
            self.measured.append(name)
            return {"seconds": (1.5, 2.5)}

        return slices.get(name, measure, seconds)


def test_what_was_measured_is_not_measured_again_and_comes_back_as_it_went() -> None:
    measuring = Measuring()
    first = Slices("C6", FACTS, math.inf)
    values = [measuring.get(first, "a"), measuring.get(first, "b"), measuring.get(first, "a")]
    second = Slices("C6", FACTS, math.inf)
    values += [measuring.get(second, "a"), measuring.get(second, "b")]
    assert measuring.measured == ["a", "b"]
    assert values == [{"seconds": [1.5, 2.5]}] * 5


def test_a_run_that_has_no_time_left_measures_one_slice_and_keeps_it() -> None:
    measuring = Measuring()
    first = Slices("C6", FACTS, 0.0)
    measuring.get(first, "a", seconds=60.0)
    with pytest.raises(TimeIsUp, match="1 slices are kept, b is next"):
        measuring.get(first, "b", seconds=60.0)
    second = Slices("C6", FACTS, 0.0)
    measuring.get(second, "a", seconds=60.0)
    measuring.get(second, "b", seconds=60.0)
    with pytest.raises(TimeIsUp):
        measuring.get(second, "c", seconds=60.0)
    assert measuring.measured == ["a", "b"]


@pytest.mark.parametrize("what", ["facts", "sources", "whole"])
def test_what_was_measured_under_other_facts_or_of_a_row_that_is_whole_counts_no_more(what: str, sources: Path) -> None:
    measuring = Measuring()
    first = Slices("C6", FACTS, math.inf)
    measuring.get(first, "a")
    if what == "whole":
        first.forget()
    if what == "sources":
        (sources / "load.py").write_text("one = 2\n")
    facts = FACTS | {"load_seconds": 30.0} if what == "facts" else FACTS
    measuring.get(Slices("C6", facts, math.inf), "a")
    assert measuring.measured == ["a", "a"]


def test_a_measurement_that_fails_is_not_kept() -> None:
    run = Slices("C6", FACTS, math.inf)
    with pytest.raises(ZeroDivisionError):
        run.get("a", lambda: 1 / 0, 1.0)
    assert Measuring().get(run, "a") == {"seconds": [1.5, 2.5]}
