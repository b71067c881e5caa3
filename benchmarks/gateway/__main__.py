"""The command behind `make bench-gateway`: `python -m benchmarks.gateway [--row cost …] [--small] [--again]`.

A whole run takes half an hour, and a million requests for the memory some more (`--requests`). It is written down row
by row and goes on where it was stopped. Run it on an otherwise idle machine: the client needs the second core.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Annotated

import typer
import uvloop

from benchmarks.engine.environments import PeerMissing
from benchmarks.engine.record import Record
from benchmarks.gateway import cancel, cost, fairness, latency, peers, residence
from benchmarks.gateway.scale import Scale
from benchmarks.report import Row, markdown, verdict
from benchmarks.results import RESULTS

ROWS: dict[str, Callable[[Scale], Iterator[Row]]] = {
    "cost": cost.measure,
    "peers": peers.measure,
    "latency": latency.measure,
    "streams": residence.streams,
    "memory": residence.memory,
    "fairness": fairness.measure,
    "eta": fairness.told,
    "cancel": cancel.measure,
}
SMALL = ("cost", "latency", "streams", "memory", "fairness", "eta", "cancel")
"""What needs no peers."""


def main(  # noqa: PLR0913, PLR0917 - one parameter per option of the command line
    row: Annotated[list[str] | None, typer.Option(help="only these, as cost; may be given several times")] = None,
    small: Annotated[bool, typer.Option(help="what needs no peers, within a minute; nothing is kept")] = False,
    again: Annotated[bool, typer.Option(help="also what was measured here at this commit")] = False,
    rounds: Annotated[int, typer.Option(min=1, help="of each figure that is a median")] = 5,
    load_seconds: Annotated[float, typer.Option(min=2, help="length of a trace")] = 30.0,
    requests: Annotated[int, typer.Option(min=1_000, help="over which memory must stay flat")] = 1_000_000,
) -> None:
    """Measures, prints every row, writes results/gateway.json."""
    wanted = list(row or (SMALL if small else ROWS))
    if unknown := set(wanted) - set(ROWS):
        raise typer.BadParameter(f"no such row: {', '.join(sorted(unknown))}; there are {', '.join(ROWS)}")
    full = Scale(rounds=rounds, load_seconds=load_seconds, most_requests=requests)
    scale = Scale.smallest() if small else full
    record = None if small else Record(RESULTS / "gateway.json")
    table: list[Row] = []
    for name in wanted:
        kept = record.kept(name) if record and not again else None
        lines = kept or list(measured(name, scale))
        table += lines
        if record and kept is None:
            record.put(name, lines)
    print("\n" + markdown(table))


def measured(name: str, scale: Scale) -> Iterator[Row]:
    """A row's lines as they are measured; one whose peer cannot be had says so."""
    uvloop.install()
    try:
        for each in ROWS[name](scale):
            line = replace(each, holds=None) if scale.small else each
            words = f"{line.id} {line.what} [{line.backend}]: {line.figure or 'not measured'}; goal {line.goal or '-'}"
            print(f"{words}; holds: {verdict(line.holds) or '-'} {line.note}", file=sys.stderr)
            yield line
    except (PeerMissing, ImportError) as error:
        print(f"{name}: not measured: {error}", file=sys.stderr)
        yield Row(name, name, "", "", note=str(error))


if __name__ == "__main__":
    typer.run(main)
