"""The command behind `make bench-gateway`: `python -m benchmarks.gateway [--row cost …] [--small] [--again]`.

A whole run takes half an hour, and a million requests for the memory some more (`--requests`). It is written down row
by row and goes on where it was stopped. Run it on an otherwise idle machine: the client needs the second core.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated

import typer
import uvloop

from benchmarks.engine.record import Record
from benchmarks.gateway import cancel, cost, fairness, latency, peers, residence, routes
from benchmarks.gateway.scale import Scale
from benchmarks.report import Row
from benchmarks.results import RESULTS
from benchmarks.rows import chosen, measure_all

ROWS: dict[str, Callable[[Scale], Iterator[Row]]] = {
    "cost": cost.measure,
    "peers": peers.measure,
    "latency": latency.measure,
    "routes": routes.measure,
    "streams": residence.streams,
    "memory": residence.memory,
    "fairness": fairness.measure,
    "eta": fairness.told,
    "cancel": cancel.measure,
}
SMALL = ("cost", "latency", "routes", "streams", "memory", "fairness", "eta", "cancel")
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
    names = chosen(row or (SMALL if small else list(ROWS)), ROWS)
    full = Scale(rounds=rounds, load_seconds=load_seconds, most_requests=requests)
    uvloop.install()
    record = None if small else Record(RESULTS / "gateway.json")
    measure_all(ROWS, names, Scale.smallest() if small else full, record, again)


if __name__ == "__main__":
    typer.run(main)
