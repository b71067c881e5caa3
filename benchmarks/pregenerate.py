"""`python -m benchmarks.pregenerate`: `bowerbird pregenerate` over a large table, killed in the middle.

The real command before the real gateway; the stages are light (a drawing takes no time), so that what is measured is
the way there and back. Three runs over one table: one that is killed (SIGKILL) half way, one that takes it up, and one
that finds everything fresh; and before them one over a tenth of the table, whose memory must be that of the whole. What
must hold on every machine (memory, no row lost, none drawn twice) is checked, and ends the benchmark where it does not.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import psutil
import typer

from benchmarks.gateway.light_stages import Spec
from benchmarks.gateway.processes import KEYS, Service, gateway, light_stages
from benchmarks.results import record, show

BIRDS = (
    ("american-robin", "American robin", "Turdus migratorius"),
    ("blue-jay", "Blue jay", "Cyanocitta cristata"),
    ("snowy-owl", "Snowy owl", "Bubo scandiacus"),
    ("mallard", "Mallard", "Anas platyrhynchos"),
)
SPEC = Spec(frame_bytes=4_224, picture_bytes=2_000)
LOOK_SECONDS = 0.05
IN_FLIGHT = 16
"""Rows at a time: as many were not stored yet at the kill, and are drawn once more."""
MOST_GROWTH = 1.2
"""Memory over the whole table, by that over a tenth of it."""


@dataclass(slots=True)
class Run:
    """One run of the command, as far as it came."""

    seconds: float
    peak_megabytes: float
    told: dict[str, Any]
    drew: int
    """Pictures that the gateway drew meanwhile."""


def main(rows: Annotated[int, typer.Option(min=100, help="of the table")] = 10_000) -> None:
    """Measures, prints a table, and writes `results/pregenerate.json`."""
    with (
        tempfile.TemporaryDirectory() as folder,
        light_stages(SPEC) as stages,
        gateway(stages) as served,
    ):
        tenth, whole = table(Path(folder) / "tenth.csv", rows // 10), table(Path(folder) / "whole.csv", rows)
        runs = {"a tenth of it": ran(served, tenth)}
        runs["killed half way"] = ran(served, whole, killed_after=rows // 2)
        runs["taken up"] = ran(served, whole)
        runs["all fresh"] = ran(served, whole)
    figures = {name: facts(run) for name, run in runs.items()}
    show(
        f"{rows} rows",
        ("run", "s", "peak MB", "drawn", "fresh"),
        [(name, *row.values()) for name, row in figures.items()],
    )
    record("pregenerate", {"rows": rows, **figures})
    if broken := list(broken_promises(rows, runs)):
        raise SystemExit("\n".join(broken))


def facts(run: Run) -> dict[str, Any]:
    """Of a run that was killed only the gateway says what was drawn."""
    done = {"drawn": run.told.get("drawn", run.drew), "fresh": run.told.get("fresh")}
    return {"seconds": round(run.seconds, 1), "peak_megabytes": round(run.peak_megabytes, 1), **done}


def broken_promises(rows: int, runs: dict[str, Run]) -> Iterator[str]:
    """What did not hold, each as a sentence."""
    tenth, killed, taken_up, fresh = runs.values()
    for name in ("taken up", "all fresh"):
        if (done := runs[name].told.get("drawn", 0) + runs[name].told.get("fresh", 0)) != rows:
            yield f"{name}: {rows - done} of {rows} rows are missing"
    if (drew := sum(run.drew for run in runs.values())) > rows + IN_FLIGHT:
        yield f"{drew} pictures were drawn for {rows} rows"
    if taken_up.told.get("fresh", 0) < (there := tenth.drew + killed.drew - IN_FLIGHT):
        yield f"taken up: {taken_up.told} although {there} were there"
    if fresh.told.get("drawn"):
        yield f"all fresh: {fresh.told['drawn']} were drawn again"
    if (peak := max(run.peak_megabytes for run in runs.values())) > MOST_GROWTH * tenth.peak_megabytes:
        yield f"memory grows with the table: {peak:.0f} MB against {tenth.peak_megabytes:.0f} MB"


def table(path: Path, rows: int) -> Path:
    """So many different pictures."""
    with path.open("w") as file:
        file.write("id,common_name,scientific_name,pose,season,variation\n")
        for number in range(rows):
            file.write(f"{','.join(BIRDS[number % len(BIRDS)])},perched,winter,{number}\n")
    return path


def ran(served: Service, path: Path, killed_after: int | None = None) -> Run:
    """The command until its end, or until the gateway has drawn so many more pictures."""
    command = [sys.executable, "-m", "bowerbird.cli", "pregenerate", str(path), "--json"]
    options = ["--url", served.url, "--key", KEYS[0], "--in-flight", str(IN_FLIGHT)]
    began, peak, before = time.monotonic(), 0, drawn(served)
    process = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True)  # noqa: S603 - our own command
    seen = psutil.Process(process.pid)
    while process.poll() is None:
        peak = max(peak, seen.memory_info().rss)
        if killed_after is not None and drawn(served) - before >= killed_after:
            process.kill()
        time.sleep(LOOK_SECONDS)
    out, _ = process.communicate()
    return Run(time.monotonic() - began, peak / 1e6, json.loads(out) if out else {}, drawn(served) - before)


def drawn(served: Service) -> int:
    """Pictures that this gateway has drawn so far."""
    import urllib.request

    with urllib.request.urlopen(f"{served.url}/metrics", timeout=30) as answer:  # noqa: S310 - an address of ours
        lines = answer.read().decode().splitlines()
    found = [line for line in lines if line.startswith("bowerbird_stage_seconds_count") and '"publish"' in line]
    return int(sum(float(line.rsplit(" ", 1)[1]) for line in found))


if __name__ == "__main__":
    typer.run(main)
