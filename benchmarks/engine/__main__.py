"""The command behind `make bench-engine`: `python -m benchmarks.engine [--row C6 …] [--small] [--again]`.

A whole run takes hours on two cores (C1 and C3 compute SD 1.5's shape, C6 plays twenty-odd traces of two minutes), so
it is written down row by row and goes on where it was stopped. Run it on an otherwise idle machine.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.engine import (
    cold_start,
    company,
    denoiser_step,
    mixed_load,
    service_overhead,
    whole_picture,
    worker_memory,
)
from benchmarks.engine.environments import PeerMissing
from benchmarks.engine.record import Record
from benchmarks.engine.scale import Scale
from benchmarks.report import Row, markdown, verdict
from benchmarks.results import RESULTS
from bowerbird.settings import PACKAGED_MODELS

ROWS: dict[str, Callable[[Scale], Iterator[Row]]] = {
    "C1": denoiser_step.one_step,
    "C2": denoiser_step.compiled_step,
    "C3": whole_picture.measure,
    "C5": service_overhead.measure,
    "C6": mixed_load.measure,
    "C7": worker_memory.measure,
    "C8": company.measure,
    "C9": cold_start.measure,
}
WITHOUT_PEERS = ("C5", "C6", "C7", "C8", "C9")


def main(  # noqa: PLR0913, PLR0917 - one parameter per option of the command line
    row: Annotated[list[str] | None, typer.Option(help="only these, as C6; may be given several times")] = None,
    small: Annotated[bool, typer.Option(help="what needs no peers, within seconds; nothing is kept")] = False,
    again: Annotated[bool, typer.Option(help="also what was measured here at this commit")] = False,
    bundle: Annotated[Path, typer.Option(help="the bundle that is drawn with")] = PACKAGED_MODELS / "fledgling",
    rounds: Annotated[int, typer.Option(min=1, help="turns of each contender")] = 5,
    load_seconds: Annotated[float, typer.Option(min=5, help="length of a trace of C6")] = 120.0,
) -> None:
    """Measures, prints every row, writes results/engine.json."""
    wanted = [name.upper() for name in row or (WITHOUT_PEERS if small else ROWS)]
    if unknown := set(wanted) - set(ROWS):
        raise typer.BadParameter(f"no such row: {', '.join(sorted(unknown))}; there are {', '.join(ROWS)}")
    scale = Scale(bundle.absolute(), small, rounds, load_seconds)
    record = None if small else Record(RESULTS / "engine.json")
    table: list[Row] = []
    for name in wanted:
        kept = record.kept(name) if record and not again else None
        lines = kept or list(measured(name, scale))
        table += lines
        if record and kept is None:
            record.put(name, lines)
    print("\n" + markdown(table))


def measured(name: str, scale: Scale) -> Iterator[Row]:
    """A row's lines as they are measured; one whose peer or model cannot be had says so."""
    try:
        for each in ROWS[name](scale):
            line = replace(each, holds=None) if scale.small else each
            holds = verdict(line.holds)
            words = f"{line.id} {line.what} [{line.backend}]: {line.figure or 'not measured'}; goal {line.goal or '-'}"
            print(f"{words}; holds: {holds or '-'} {line.note}", file=sys.stderr)
            yield line
    except (PeerMissing, ImportError) as error:
        what = (sys.modules[ROWS[name].__module__].__doc__ or "").split(": ", 1)[-1].splitlines()[0]
        print(f"{name}: not measured: {error}", file=sys.stderr)
        yield Row(name, what.rstrip(".:,"), "", "", note=str(error))


if __name__ == "__main__":
    typer.run(main)
