"""A table of species as requests, line by line: whatever stands in the file, a bounded part of it is in memory.

One line is one row, so that a quote that is never closed spoils its own line and no other. A row that cannot be
asked for is a `Fault` and does not end the run; a file that is no table of ours ends it before anything is asked.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any

from pydantic import TypeAdapter, ValidationError

from bowerbird.contracts import SpeciesId

MAX_LINE_BYTES = 16_384
MAX_FIELD_CHARACTERS = 500
ID = "id"
REQUIRED = (ID, "common_name", "scientific_name")
TEXTS = ("pose", "season", "behaviour", "resolution", "quality", "output_format")
NUMBERS = ("variation", "candidates", "output_compression")
COLUMNS = (*REQUIRED, *TEXTS, *NUMBERS)

_BOM = b"\xef\xbb\xbf"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_NUMBER = re.compile(r"[0-9]{1,9}")
_SPECIES_ID: TypeAdapter[str] = TypeAdapter(SpeciesId)
_SEPARATORS: Mapping[str, str] = MappingProxyType({";": "semicolons", "\t": "tabs"})


class TableUnreadable(Exception):
    """The file is no table of species; the message names line and column."""


@dataclass(frozen=True, slots=True)
class Row:
    """One species, as it is asked for."""

    line: int
    species: str
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Fault:
    """A row that cannot be asked for."""

    line: int
    column: str | None
    fact: str
    species: str = ""


def read_rows(file: Path) -> Iterator[Row | Fault]:
    """Every row; raises TableUnreadable for the file, its encoding and its header."""
    try:
        with file.open("rb") as opened:
            yield from _rows(opened)
    except OSError as error:
        raise TableUnreadable(f"{file} cannot be read: {error.strerror}.") from error


def _rows(opened: IO[bytes]) -> Iterator[Row | Fault]:
    lines = _lines(opened)
    _, header = next(lines, (1, ""))
    columns = _columns(header)
    for number, line in lines:
        if line is None:
            yield Fault(number, None, f"The line is longer than {MAX_LINE_BYTES} bytes.")
        elif line.strip():
            yield _row(number, line, columns)


def _lines(opened: IO[bytes]) -> Iterator[tuple[int, str | None]]:
    """Lines with their numbers, from 1; None for one that is too long, which is read past."""
    number = 0
    while raw := opened.readline(MAX_LINE_BYTES):
        number += 1
        if number == 1:
            if raw.startswith(_UTF_16):
                raise TableUnreadable("line 1, column 1: the file is UTF-16. Accepted: UTF-8.")
            raw = raw.removeprefix(_BOM)
        if len(raw) == MAX_LINE_BYTES and not raw.endswith(b"\n"):
            while raw and not raw.endswith(b"\n"):
                raw = opened.readline(MAX_LINE_BYTES)
            yield number, None
            continue
        try:
            yield number, raw.decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise TableUnreadable(
                f"line {number}, byte {error.start + 1}: the file is not UTF-8. Accepted: UTF-8, with or without a "
                "byte order mark."
            ) from error


def _columns(header: str | None) -> list[str]:
    """The header's names; raises TableUnreadable unless they are ours, each once, with those that are needed."""
    try:
        columns = [name.strip().lower() for name in _cells(header or "")]
    except csv.Error as error:
        raise TableUnreadable(f"line 1: {error}.") from error
    if len(columns) == 1 and (separator := next((each for each in _SEPARATORS if each in columns[0]), None)):
        raise TableUnreadable(f"line 1: the fields are separated by {_SEPARATORS[separator]}. Accepted: commas.")
    _require_ours(columns)
    return columns


def _require_ours(columns: list[str]) -> None:
    accepted = f"Accepted: {', '.join(COLUMNS)}; the first three are needed"
    for place, name in enumerate(columns, 1):
        if name not in COLUMNS:
            raise TableUnreadable(f"line 1, column {place}: {name[:64]!r} is no column of this table. {accepted}.")
        if name in columns[: place - 1]:
            raise TableUnreadable(f"line 1, column {place}: {name!r} stands there twice.")
    if missing := [name for name in REQUIRED if name not in columns]:
        raise TableUnreadable(f"line 1: there is no column {missing[0]!r}. {accepted}.")


def _row(number: int, line: str, columns: list[str]) -> Row | Fault:
    try:
        cells = [cell.strip() for cell in _cells(line)]
    except csv.Error as error:
        return Fault(number, None, f"The line is no CSV: {error}.")
    if len(cells) != len(columns):
        return Fault(number, None, f"The line has {len(cells)} fields, the header {len(columns)}.")
    said = dict(zip(columns, cells, strict=True))
    fault = next((each for each in map(_fault_of, said, said.values()) if each is not None), None)
    if fault is not None:
        return Fault(number, *fault)
    body = {name: int(cell) if name in NUMBERS else cell for name, cell in said.items() if cell and name != ID}
    return Row(number, said[ID], body)


def _fault_of(column: str, cell: str) -> tuple[str, str] | None:
    """Column and fact of a cell that no request can be made of; the gateway judges the others."""
    if len(cell) > MAX_FIELD_CHARACTERS:
        return column, f"The field has {len(cell)} characters. Accepted: up to {MAX_FIELD_CHARACTERS}."
    if column in REQUIRED and not cell:
        return column, "The field is empty, and needed."
    if column in NUMBERS and cell and not _NUMBER.fullmatch(cell):
        return column, "The field is no whole number."
    if column == ID:
        try:
            _SPECIES_ID.validate_python(cell)
        except ValidationError:
            return column, "No id. Accepted: a to z, 0 to 9 and single hyphens between them, a letter first, up to 64."
    return None


def _cells(line: str) -> list[str]:
    return next(csv.reader([line], strict=True), [])
