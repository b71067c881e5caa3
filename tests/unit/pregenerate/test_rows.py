"""Tables from strangers: what is a row, what is a fault of its line, and what is no table at all."""

from __future__ import annotations

import csv
import io
import tracemalloc
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bowerbird.pregenerate.rows import MAX_LINE_BYTES, Fault, Row, TableUnreadable, read_rows

HEADER = "id,common_name,scientific_name,pose,variation"
ROBIN = "american-robin,American robin,Turdus migratorius,perched,3"


def rows(folder: Path, content: str | bytes) -> list[Row | Fault]:
    path = folder / "species.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return list(read_rows(path))


def test_a_line_is_a_request_and_an_empty_cell_says_nothing(tmp_path: Path) -> None:
    names = {"common_name": "American robin", "scientific_name": "Turdus migratorius"}
    assert rows(tmp_path, f"{HEADER}\n{ROBIN}\n\namerican-robin, American robin ,Turdus migratorius,,\n") == [
        Row(2, "american-robin", {**names, "pose": "perched", "variation": 3}),
        Row(4, "american-robin", names),
    ]


@pytest.mark.parametrize("lines", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_tables_of_spreadsheets_are_read_as_they_are_saved(tmp_path: Path, lines: str, mark: bytes) -> None:
    text = f'ID,"Common_Name",scientific_name{lines}stellers-jay,"Steller\'s jay",Cyanocitta stelleri'
    [row] = rows(tmp_path, mark + text.encode())
    assert isinstance(row, Row)
    assert row.body["common_name"] == "Steller's jay"


@pytest.mark.parametrize(
    ("content", "fact"),
    [
        (b"", "line 1: there is no column 'id'"),
        (b"id,common_name\n", "line 1: there is no column 'scientific_name'"),
        (b"id,common_name,scientific_name,colour\n", "line 1, column 4: 'colour' is no column"),
        (b"id,common_name,scientific_name,id\n", "line 1, column 4: 'id' stands there twice"),
        (b"id;common_name;scientific_name\n", "separated by semicolons. Accepted: commas"),
        (b"id\tcommon_name\tscientific_name\n", "separated by tabs"),
        ("id,common_name".encode("utf-16"), "line 1, column 1: the file is UTF-16. Accepted: UTF-8"),
        (b"id,common_name,scientific_name\na,R\xfcppell,b c\n", "line 2, byte 4: the file is not UTF-8"),
        (b'id,"common_name\n', "line 1: "),
    ],
)
def test_what_is_no_table_is_said_with_its_place(tmp_path: Path, content: bytes, fact: str) -> None:
    with pytest.raises(TableUnreadable, match=fact):
        rows(tmp_path, content)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(TableUnreadable, match=r"nowhere\.csv cannot be read"):
        list(read_rows(tmp_path / "nowhere.csv"))


@pytest.mark.parametrize(
    ("line", "column", "fact"),
    [
        ("a,b", None, "2 fields, the header 5"),
        (f"{ROBIN},more", None, "6 fields"),
        (",American robin,Turdus migratorius,,", "id", "empty, and needed"),
        ("robin,,Turdus migratorius,,", "common_name", "empty, and needed"),
        ("American Robin,American robin,Turdus migratorius,,", "id", "No id"),
        ("../admin,American robin,Turdus migratorius,,", "id", "No id"),
        ("robin,American robin,Turdus migratorius,,many", "variation", "no whole number"),
        ("robin,American robin,Turdus migratorius,,-1", "variation", "no whole number"),
        (f"robin,{'r' * 501},Turdus migratorius,,", "common_name", "501 characters"),
        ('robin,"American robin,Turdus migratorius,,', None, "no CSV"),
        ("r" * (MAX_LINE_BYTES + 5), None, f"longer than {MAX_LINE_BYTES} bytes"),
        ("r" * (3 * MAX_LINE_BYTES), None, f"longer than {MAX_LINE_BYTES} bytes"),
    ],
)
def test_a_fault_is_its_lines_and_the_next_is_read(tmp_path: Path, line: str, column: str | None, fact: str) -> None:
    fault, row = rows(tmp_path, f"{HEADER}\n{line}\n{ROBIN}\n")

    assert isinstance(fault, Fault)
    assert (fault.line, fault.column) == (2, column)
    assert fact in fault.fact
    assert isinstance(row, Row)
    assert row.line == 3


CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n\r\0"), max_size=20)


@given(st.lists(st.lists(CELLS, min_size=3, max_size=3), max_size=8))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_written_as_csv_comes_back_line_by_line(tmp_path: Path, cells: list[list[str]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerows([["id", "common_name", "scientific_name"], *cells])
    read = rows(tmp_path, text.getvalue())

    assert [each.line for each in read] == list(range(2, len(cells) + 2))
    for row, written in zip(read, cells, strict=True):
        if isinstance(row, Row):
            assert [row.species, *row.body.values()] == [cell.strip() for cell in written]


@given(st.binary(max_size=400))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_rows_faults_or_no_table(tmp_path: Path, content: bytes) -> None:
    for start in (b"", f"{HEADER}\n".encode()):
        with suppress(TableUnreadable):
            assert all(each.line > 1 for each in rows(tmp_path, start + content))


def test_memory_does_not_grow_with_the_table(tmp_path: Path) -> None:
    """Neither with its lines nor with the length of one: 10 000 rows, and one line of 4 MB."""
    path = tmp_path / "species.csv"
    path.write_text(f"{HEADER}\n" + f"{ROBIN}\n" * 5_000 + "x" * 4_000_000 + f"\n{ROBIN}" * 5_000)
    tracemalloc.start()
    try:
        assert sum(1 for _ in read_rows(path)) == 10_001
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000  # of which some is what gateways of other tests do meanwhile
