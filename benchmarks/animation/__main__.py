"""The command behind `make bench-animation`: `python -m benchmarks.animation [--row A3 …] [--small] [--again]`.

Minutes on two cores (A4 draws a hundred clips); every row is kept in results/animation.json as soon as it is whole.
Run it on an otherwise idle machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.animation import encoding, served, whole_clip
from benchmarks.engine.record import Record
from benchmarks.engine.scale import Scale
from benchmarks.report import Row
from benchmarks.results import RESULTS
from benchmarks.rows import chosen, measure_all
from bowerbird.settings import PACKAGED_MODELS

ROWS: dict[str, Callable[[Scale], Iterator[Row]]] = {
    "A1": served.end_to_end,
    "A2": whole_clip.measure,
    "A3": encoding.measure,
    "A4": served.memory,
    "A5": served.beside_a_clip,
}
WITHOUT_A_MODEL = ("A3",)


def main(
    row: Annotated[list[str] | None, typer.Option(help="only these, as A3; may be given several times")] = None,
    small: Annotated[bool, typer.Option(help="what needs no model, within seconds; nothing is kept")] = False,
    again: Annotated[bool, typer.Option(help="also what was measured here at this commit")] = False,
    bundle: Annotated[Path, typer.Option(help="the bundle that clips are drawn with")] = PACKAGED_MODELS
    / "fledgling-motion",
    rounds: Annotated[int, typer.Option(min=1, help="turns of each contender")] = 3,
) -> None:
    """Measures, prints every row, writes results/animation.json."""
    names = chosen([name.upper() for name in row or (WITHOUT_A_MODEL if small else ROWS)], ROWS)
    scale = Scale(bundle.absolute(), small, rounds)
    measure_all(ROWS, names, scale, None if small else Record(RESULTS / "animation.json"), again)


if __name__ == "__main__":
    typer.run(main)
