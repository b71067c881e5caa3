"""The command behind `make fuzz`: `python -m tests.fuzz [--parser NAME …] [--inputs 1000000] [--again]`.

A process for each parser and slice of inputs, so that a run can be stopped and taken up again. What reached new code is
kept in the cache folder and is where the next run begins. Results: benchmarks/results/fuzz.json. Exit status 1 where
any input was not read or refused; it lies in the cache folder, and its bytes are printed.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.results import RESULTS, commit, record, show

from .parsers import BY_NAME, Parser

INPUTS = 1_000_000
SLICE = 250_000
"""Inputs of a process."""
MEMORY_MIB = 1_024
"""A parser that needs more has no bound; what Python and the libraries take before the first input is in it."""
INPUT_SECONDS = 10
"""An input that takes longer hangs a worker."""
SHOWN_BYTES = 200


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one parser was asked so far."""

    commits: tuple[str, ...] = ()
    """At which it was asked: a run of hours may see several."""
    inputs: int = 0
    crashes: int = 0
    first_peak_mib: int = 0
    """Resident, of the first slice."""
    peak_mib: int = 0
    """Resident, of any slice."""
    seconds: float = 0.0
    kept: int = 0
    """Inputs that each reached code no other did."""


def main(
    parser: Annotated[list[str] | None, typer.Option(help="only these; may be given several times")] = None,
    inputs: Annotated[int, typer.Option(min=1, help="for each parser")] = INPUTS,
    again: Annotated[bool, typer.Option(help="from the beginning, whatever was asked before")] = False,
) -> None:
    """Asks, prints a table, writes results/fuzz.json."""
    if unknown := set(parser or ()) - BY_NAME.keys():
        raise typer.BadParameter(f"no such parser: {', '.join(sorted(unknown))}; there are {', '.join(BY_NAME)}")
    outcomes = {} if again else _kept()
    for name in parser or BY_NAME:
        outcome = outcomes.get(name, Outcome())
        while outcome.inputs < inputs and not outcome.crashes:
            outcome = _asked(BY_NAME[name], outcome, min(SLICE, inputs - outcome.inputs))
            outcomes[name] = outcome
            record("fuzz", {each: asdict(outcomes[each]) for each in BY_NAME if each in outcomes})
    rows = [(name, each.inputs, each.crashes, each.peak_mib, each.kept) for name, each in outcomes.items()]
    show("Hostile inputs", ("parser", "inputs", "crashes", "peak MiB", "reached new code"), rows)
    raise typer.Exit(any(each.crashes for each in outcomes.values()))


def _kept() -> dict[str, Outcome]:
    """What was asked before, and did not fail."""
    file = RESULTS / "fuzz.json"
    figures: dict[str, Any] = json.loads(file.read_text())["figures"] if file.exists() else {}
    outcomes = {name: Outcome(**{**each, "commits": tuple(each["commits"])}) for name, each in figures.items()}
    return {name: each for name, each in outcomes.items() if name in BY_NAME and not each.crashes}


def _asked(parser: Parser, before: Outcome, inputs: int) -> Outcome:
    """One process that asks so many."""
    folder = _folder(parser)
    corpus = folder / "corpus"
    options = {
        "runs": inputs,
        "max_len": parser.max_bytes,
        "rss_limit_mb": MEMORY_MIB,
        "timeout": INPUT_SECONDS,
        "print_final_stats": 1,
        "artifact_prefix": f"{folder}{os.sep}",
    }
    command = [sys.executable, "-m", "tests.fuzz.one", parser.name]
    began = time.monotonic()
    done = subprocess.run(
        [*command, *(f"-{name}={value}" for name, value in options.items()), str(corpus)],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(["services", ".", os.environ.get("PYTHONPATH", "")])},
        check=False,
    )
    said = done.stderr.decode(errors="replace")
    asked, peak = _figure(said, "number_of_executed_units"), _figure(said, "peak_rss_mb")
    if done.returncode:
        _tell(parser, said)
    return replace(
        before,
        commits=tuple(dict.fromkeys([*before.commits, commit()])),
        inputs=before.inputs + asked,
        crashes=before.crashes + bool(done.returncode),
        first_peak_mib=before.first_peak_mib or peak,
        peak_mib=max(before.peak_mib, peak),
        seconds=round(before.seconds + time.monotonic() - began, 1),
        kept=sum(1 for _ in corpus.iterdir()),
    )


def _folder(parser: Parser) -> Path:
    """Where a parser's inputs are kept; its seeds are there."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "bowerbird" / "fuzz" / parser.name
    (folder / "corpus").mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(parser.seeds):
        (folder / "corpus" / f"seed-{number}").write_bytes(seed)
    return folder


def _figure(said: str, name: str) -> int:
    found = re.search(rf"stat::{name}:\s+(\d+)", said)
    return int(found[1]) if found else 0


def _tell(parser: Parser, said: str) -> None:
    """The end of what libFuzzer said, and the input."""
    print(f"{parser.name}:\n{said[-3_000:]}", file=sys.stderr)
    found = re.search(r"Test unit written to (\S+)", said)
    if found:
        content = Path(found[1]).read_bytes()
        print(f"{found[1]} ({len(content)} bytes): {content[:SHOWN_BYTES]!r}", file=sys.stderr)


if __name__ == "__main__":
    typer.run(main)
