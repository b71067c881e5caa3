"""`python -m benchmarks.pregenerate`: `bowerbird pregenerate` over a large table, killed in the middle.

The real command before the real gateway; the stages are light (a drawing takes no time), so that what is measured is
the way there and back. Three runs over one table: one that is killed (SIGKILL) half way, one that takes it up, and one
that finds everything fresh; and before them one over a tenth of the table, whose memory must be that of the whole.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
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


@dataclass(slots=True)
class Run:
    """One run of the command, as far as it came."""

    seconds: float
    peak_megabytes: float
    told: dict[str, Any]


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
    for name in ("taken up", "all fresh"):
        if (done := runs[name].told)["drawn"] + done["fresh"] != rows:
            raise SystemExit(f"rows are missing: {name}")


def facts(run: Run) -> dict[str, Any]:
    """Of a run that was killed nobody says what it had done."""
    done = {name: run.told.get(name) for name in ("drawn", "fresh")}
    return {"seconds": round(run.seconds, 1), "peak_megabytes": round(run.peak_megabytes, 1), **done}


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
    options = ["--url", served.url, "--key", KEYS[0], "--in-flight", "16"]
    began, peak, before = time.monotonic(), 0, drawn(served)
    process = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True)  # noqa: S603 - our own command
    seen = psutil.Process(process.pid)
    while process.poll() is None:
        peak = max(peak, seen.memory_info().rss)
        if killed_after is not None and drawn(served) - before >= killed_after:
            process.kill()
        time.sleep(LOOK_SECONDS)
    out, _ = process.communicate()
    return Run(time.monotonic() - began, peak / 1e6, json.loads(out) if out else {})


def drawn(served: Service) -> int:
    """Pictures that this gateway has drawn so far."""
    import urllib.request

    with urllib.request.urlopen(f"{served.url}/metrics", timeout=30) as answer:  # noqa: S310 - an address of ours
        lines = answer.read().decode().splitlines()
    found = [line for line in lines if line.startswith("bowerbird_stage_seconds_count") and '"publish"' in line]
    return int(sum(float(line.rsplit(" ", 1)[1]) for line in found))


if __name__ == "__main__":
    typer.run(main)
