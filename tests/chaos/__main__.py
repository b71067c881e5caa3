"""The command behind `make chaos`: `python -m tests.chaos [--seed N] [--setup sqlite] [--operations N] [--faults N]`.

Two set-ups of a thousand operations and more than fifty faults each take some twenty minutes on two cores. The result
is written to benchmarks/results/chaos.json unless `--dry`; with something against a claim the exit code is 1, and the
folder with ledger, logs and rows is named.
"""

from __future__ import annotations

import sys
import time
from typing import Annotated, Any

import typer

from benchmarks.results import record

from .plan import Setup, make_plan
from .report import figures, table
from .run import carry_out
from .stack import means

OPERATIONS, FAULTS = 1_050, 54


app = typer.Typer(pretty_exceptions_enable=False)


@app.command()
def main(
    setup: Annotated[list[Setup] | None, typer.Option(help="only these; may be given several times")] = None,
    seed: Annotated[int, typer.Option(help="replays the plan of that run")] = 20_261_121,
    operations: Annotated[int, typer.Option(min=1, help="in each set-up")] = OPERATIONS,
    faults: Annotated[int, typer.Option(min=0, help="in each set-up")] = FAULTS,
    dry: Annotated[bool, typer.Option("--dry", help="keep no result")] = False,
) -> None:
    """Breaks everything, and checks the books."""
    runs: list[dict[str, Any]] = []
    against = 0
    for each in setup or list(Setup):
        result = carry_out(make_plan(seed, each, operations, faults, means(each)), _say)
        for fact in result.against:
            _say(f"AGAINST {fact}")
        if result.against:
            _say(f"kept: {result.folder}")
        against += len(result.against)
        runs.append(figures(result))
        if not dry:
            _say(f"written: {record('chaos', {'runs': runs})}")
    typer.echo(table(runs))
    raise typer.Exit(1 if against else 0)


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    app()
