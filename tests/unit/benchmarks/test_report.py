from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.engine import record as record_module
from benchmarks.engine.record import Record
from benchmarks.report import NOT_MEASURED, Row, markdown, write

MEASURED = Row("C5", "throughput", "`cpu`", ">= 97 %", "99.0 %", True)
MISSING = Row("C1", "a step", "`openvino`", ">= 3.0x", note="no openvino here")


def test_a_row_without_a_figure_says_so_and_why() -> None:
    line = markdown([MISSING]).splitlines()[-1]
    assert line == f"| C1 | a step | `openvino` | >= 3.0x | {NOT_MEASURED} (no openvino here) |  |"


def test_a_goal_that_does_not_hold_is_shown_as_such() -> None:
    row = Row("C7", "load", "`cpu`", "<= 0.6x", "0.8x", False)
    assert markdown([MEASURED, row]).splitlines()[-2:] == [
        "| C5 | throughput | `cpu` | >= 97 % | 99.0 % | yes |",
        "| C7 | load | `cpu` | <= 0.6x | 0.8x | no |",
    ]


def test_gpu_seconds_have_a_column_only_where_there_are_any() -> None:
    on_gpu = Row("G1", "latency", "torch", "<= 25 ms", "20.0 ms", True, gpu_seconds_per_image=0.02)
    assert "GPU-seconds" not in markdown([MEASURED])
    assert markdown([on_gpu]).splitlines()[-1].endswith("| yes | 0.0200 |")


def test_every_line_of_a_table_has_as_many_cells_as_its_head() -> None:
    row = Row("C6", "a | b", "x", "y", "1 | 2", None, note="p | q")
    assert {line.count("|") for line in markdown([row, MISSING]).splitlines()} == {7}


def test_a_measured_row_is_kept_on_this_machine_and_commit_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "engine.json"
    Record(path).put("C5", [MEASURED])
    assert Record(path).kept("C5") == [MEASURED]
    assert Record(path).kept("C1") is None
    monkeypatch.setattr(record_module, "commit", lambda: "another")
    assert Record(path).kept("C5") is None


def test_a_row_measured_elsewhere_is_measured_again(tmp_path: Path) -> None:
    path = tmp_path / "engine.json"
    Record(path).put("C5", [MEASURED])
    document = json.loads(path.read_text())
    document["rows"]["C5"]["machine"]["processor"] = "another"
    path.write_text(json.dumps(document))
    assert Record(path).kept("C5") is None


def test_a_row_that_lacks_a_figure_is_measured_again(tmp_path: Path) -> None:
    path = tmp_path / "engine.json"
    Record(path).put("C1", [MEASURED, MISSING])
    assert Record(path).kept("C1") is None
    assert json.loads(path.read_text())["rows"]["C1"]["lines"][1]["note"] == MISSING.note


def test_the_written_rows_carry_their_facts(tmp_path: Path) -> None:
    write(tmp_path / "gpu.json", [MISSING], {"gpu": None})
    document = json.loads((tmp_path / "gpu.json").read_text())
    assert document["gpu"] is None
    assert document["rows"][0]["figure"] is None
