"""The command behind `make bench-engine`: `python -m benchmarks.engine [--row C6 …] [--small] [--again]`.

A whole run takes hours on two cores (C1 and C3 compute SD 1.5's shape, C6 plays two dozen traces of a minute and more),
so it is written down row by row and goes on where it was stopped; C6 within the row, too: with `--minutes` it ends in
time with status 75 (EX_TEMPFAIL: call again) until it is whole. Run it on an otherwise idle machine.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Iterator
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
from benchmarks.engine.record import Record
from benchmarks.engine.scale import Scale
from benchmarks.engine.slices import TimeIsUp
from benchmarks.report import Row
from benchmarks.results import RESULTS
from benchmarks.rows import chosen, measure_all
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
    load_seconds: Annotated[float, typer.Option(min=5, help="length of a trace of C6")] = 60.0,
    minutes: Annotated[float, typer.Option(min=0, help="stop C6 in time; the same command goes on")] = math.inf,
) -> None:
    """Measures, prints every row, writes results/engine.json."""
    names = chosen([name.upper() for name in row or (WITHOUT_PEERS if small else ROWS)], ROWS)
    scale = Scale(bundle.absolute(), small, rounds, load_seconds, 60 * minutes)
    try:
        measure_all(ROWS, names, scale, None if small else Record(RESULTS / "engine.json"), again)
    except TimeIsUp as stopped:
        print(f"it goes on with the next call: {stopped}", file=sys.stderr)
        raise typer.Exit(os.EX_TEMPFAIL) from stopped


if __name__ == "__main__":
    typer.run(main)
