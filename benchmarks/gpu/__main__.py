"""The command: `python -m benchmarks.gpu [--rows G1,G5] [--seconds 470] [--tiny] [--device cpu] [--out FILE]`.

Ends in time: a row that finds none left says so. Results are kept (benchmarks/results/gpu.json) only of a whole shape
on a GPU. argparse and the standard library, since on a GPU machine torch may be all there is.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import torch

from benchmarks.gpu import shapes
from benchmarks.gpu.meter import Meter, gpu_facts
from benchmarks.gpu.rows import ROWS, Bench
from benchmarks.report import Row, markdown, write
from benchmarks.results import RESULTS, commit, machine


def main() -> None:
    """Measures, prints the table, writes the JSON."""
    options = _options()
    rows: list[Row] = []
    if options.device == "cuda" and not torch.cuda.is_available():
        rows = [Row(name, _first_line(row), "", "", note="no GPU here") for name, row in sorted(ROWS.items())]
        print(markdown(rows))
        return
    torch.backends.cuda.matmul.allow_tf32 = True
    dtype = torch.bfloat16 if options.device == "cuda" else torch.float32
    meter = Meter(options.device, time.monotonic() + options.seconds, most=2 if options.tiny else 1000)
    shape, sides = (shapes.MINIATURE, (64, 128)) if options.tiny else (shapes.SDXL, (512, 1024))
    bench = Bench(shape, options.device, dtype, meter, *sides, steps=2 if options.tiny else 20)
    if options.device == "cpu":
        torch.set_num_threads(1)  # a trial of the lines, and small work on many threads is slower on a busy machine
    facts = {"machine": machine(), **gpu_facts(), "commit": commit(), "dtype": str(dtype).removeprefix("torch.")}
    facts |= {"date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M"), "shape": shape.name}
    with torch.inference_mode():
        for name in options.rows.split(","):
            for row in _survived(name, bench):
                rows.append(replace(row, holds=None) if options.tiny else row)
                print(f"{row.id} {row.what}: {row.figure or 'not measured'} [{row.backend}] {row.note}", flush=True)
                if options.out is not None:
                    write(options.out, rows, facts)
    print("\n" + markdown(sorted(rows, key=lambda row: row.id)))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description="Rows G1-G7 on one NVIDIA GPU.")
    parser.add_argument("--rows", default=",".join(ROWS))
    parser.add_argument("--seconds", type=float, default=470.0, help="ends within this time")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument(
        "--tiny", action="store_true", help="a miniature: shows that every line works, times mean nothing"
    )
    parser.add_argument(
        "--out", type=Path, help="JSON file; default benchmarks/results/gpu.json of a whole shape on a GPU"
    )
    options = parser.parse_args()
    if unknown := set(options.rows.split(",")) - set(ROWS):
        parser.error(f"no such row: {', '.join(sorted(unknown))}")
    if options.out is None and options.device == "cuda" and not options.tiny:
        options.out = RESULTS / "gpu.json"
    return options


def _survived(name: str, bench: Bench) -> Iterator[Row]:
    """A row's lines; one that fails says why, and the next one gets its turn."""
    what = _first_line(ROWS[name])
    if bench.meter.seconds_left < 15:
        yield Row(name, what, "", "", note="no time left")
        return
    try:
        yield from ROWS[name](bench)
    except Exception as error:  # a GPU is seldom there: whatever fails may not cost the rows that follow
        reason = (str(error).strip().splitlines() or [""])[0][:200]
        yield Row(name, what, "", "", note=f"failed: {type(error).__name__}: {reason}")
        bench.fresh()


def _first_line(row: object) -> str:
    return (row.__doc__ or "").splitlines()[0].rstrip(".")


if __name__ == "__main__":
    main()
