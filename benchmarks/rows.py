"""The rows of a benchmark, one after the other: measured, said, written down; what was measured here before is kept.

Called by the commands behind `make bench-engine` and `make bench-gateway`. A row is a function that yields lines, so
that each is said as soon as it is measured; what needs a peer that cannot be had says so instead.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Protocol, TypeVar

import typer

from benchmarks.engine.environments import PeerMissing
from benchmarks.engine.record import Record
from benchmarks.report import Row, markdown, verdict


class Sized(Protocol):
    """What a run is given."""

    @property
    def small(self) -> bool:
        """Shows that everything works, and measures nothing: no goal is judged by it."""


Scale = TypeVar("Scale", bound=Sized)
Measures = Mapping[str, Callable[[Scale], Iterator[Row]]]


def chosen(wanted: Sequence[str], there_are: Mapping[str, object]) -> list[str]:
    """The names of rows; raises BadParameter for one that does not exist."""
    if unknown := set(wanted) - set(there_are):
        raise typer.BadParameter(f"no such row: {', '.join(sorted(unknown))}; there are {', '.join(there_are)}")
    return list(wanted)


def measure_all(rows: Measures[Scale], names: Sequence[str], scale: Scale, record: Record | None, again: bool) -> None:
    """Measures what is not in `record` yet, or everything `again`, and prints the table; a row is kept when whole."""
    table: list[Row] = []
    for name in names:
        kept = record.kept(name) if record and not again else None
        lines = kept or list(measured(rows, name, scale))
        table += lines
        if record and kept is None:
            record.put(name, lines)
    print("\n" + markdown(table))


def measured(rows: Measures[Scale], name: str, scale: Scale) -> Iterator[Row]:
    """A row's lines as they are measured; one whose peer or model cannot be had says so."""
    try:
        for each in rows[name](scale):
            line = replace(each, holds=None) if scale.small else each
            words = f"{line.id} {line.what} [{line.backend}]: {line.figure or 'not measured'}; goal {line.goal or '-'}"
            print(f"{words}; holds: {verdict(line.holds) or '-'} {line.note}", file=sys.stderr)
            yield line
    except (PeerMissing, ImportError) as error:
        what = (sys.modules[rows[name].__module__].__doc__ or "").split(": ", 1)[-1].splitlines()[0]
        print(f"{name}: not measured: {error}", file=sys.stderr)
        yield Row(name, what.rstrip(".:,"), "", "", note=str(error))
