"""`python -m benchmarks.batches`: what the largest batch takes, 50 000 lines of 200 MB, of a gateway's own process.

The gateway as it is served, with SQLite and a folder, before light stages (`benchmarks.gateway.light_stages`), and
OpenAI's client. Every line is a picture with the longest prompt that there is, checked, queued, drawn, judged, signed
and stored as any; the pictures are small, so that the disk holds them all. The result store is off: it keeps pictures
in memory by a bound of its own (64 MiB), and tiny ones fill that with what is around them. What is measured is the
memory of the gateway in each phase beyond what it had before, how long a phase took, and that every line is there once
at the end. Run it on an otherwise idle machine; it takes some ten minutes.
"""

from __future__ import annotations

import json
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import openai
import typer

from benchmarks.gateway.light_stages import Spec
from benchmarks.gateway.processes import KEYS, Service, gateway, light_stages
from benchmarks.results import record, show

LINES = 50_000
PROMPT = ("ü" * 400 + " an american robin perched on a branch in winter" * 40)[:2_000]
"""The longest that there is; in JSON the first letters take six bytes each, so that a line has 4 KB."""
GOAL_MEGABYTES = 150.0
"""Beyond what the idle gateway has: three quarters of the file, whatever the pictures take."""
PICTURE_BYTES = 2_000
LOOK_SECONDS = 0.1


@dataclass
class Phase:
    """One part of a batch's life."""

    name: str
    seconds: float = 0.0
    most_megabytes: float = 0.0
    """Resident memory of the gateway at its largest."""


def main(lines: Annotated[int, typer.Option(help="of the batch", min=100, max=LINES)] = LINES) -> None:
    """Measures, prints a table, and writes `results/batches.json`."""
    with tempfile.TemporaryDirectory(prefix="bowerbird-") as folder:
        file = Path(folder) / "lines.jsonl"
        write_lines(file, lines)
        size = file.stat().st_size / 1e6
        with light_stages(Spec(picture_bytes=PICTURE_BYTES)) as stages, gateway(stages, result_bytes="0") as served:
            idle = served.resident_megabytes()
            phases = run_batch(served, file, Path(folder) / "output.jsonl", lines)
    grown = max(each.most_megabytes for each in phases) - idle
    rows = [[each.name, f"{each.seconds:.1f} s", f"{each.most_megabytes - idle:+.0f} MB"] for each in phases]
    show(f"{lines} lines of {size:.0f} MB; the gateway had {idle:.0f} MB before", ["", "took", "memory"], rows)
    print(f"most memory: +{grown:.0f} MB (goal: below {GOAL_MEGABYTES:g}); every line has one answer")
    figures: dict[str, Any] = {
        "lines": lines,
        "file_megabytes": round(size, 1),
        "idle_megabytes": round(idle, 1),
        "grown_megabytes": round(grown, 1),
        "lines_per_second": round(lines / next(each.seconds for each in phases if each.name == "run"), 1),
        "phases": {each.name: [round(each.seconds, 2), round(each.most_megabytes - idle, 1)] for each in phases},
    }
    if lines == LINES:
        record("batches", figures)


def write_lines(file: Path, lines: int) -> None:
    """A file whose every line is as long as one of 200 MB over 50 000 lines."""
    with file.open("w") as opened:
        for number in range(lines):
            body = {"prompt": PROMPT, "seed": number}
            line = {"custom_id": f"{number}", "method": "POST", "url": "/v1/images/generations", "body": body}
            opened.write(json.dumps(line) + "\n")


def run_batch(served: Service, file: Path, output: Path, lines: int) -> list[Phase]:
    """The batch's life; raises SystemExit unless every line has one answer."""
    phases: list[Phase] = []
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key=KEYS[0], timeout=600, max_retries=0) as client:
        with phase("upload", served, phases):
            stored = client.files.create(file=file, purpose="batch")
        with phase("run", served, phases):
            batch = client.batches.create(
                input_file_id=stored.id, endpoint="/v1/images/generations", completion_window="24h"
            )
            while client.batches.retrieve(batch.id).status not in ("completed", "failed", "expired"):
                time.sleep(1.0)
        batch = client.batches.retrieve(batch.id)
        if batch.request_counts is None or batch.request_counts.completed != lines:
            raise SystemExit(f"not every line is completed: {batch}")
        with (
            phase("download", served, phases),
            client.files.with_streaming_response.content(batch.output_file_id or "") as answer,
        ):
            answer.stream_to_file(output)
    with output.open() as opened:
        names = sorted(int(json.loads(line)["custom_id"]) for line in opened)
    if names != list(range(lines)):
        raise SystemExit("a line is missing, or there twice")
    return phases


@contextmanager
def phase(name: str, served: Service, phases: list[Phase]) -> Iterator[None]:
    """Looks at the gateway's memory while it lasts."""
    this, over = Phase(name), threading.Event()
    phases.append(this)

    def look() -> None:
        while not over.wait(LOOK_SECONDS):
            this.most_megabytes = max(this.most_megabytes, served.resident_megabytes())

    looking = threading.Thread(target=look)
    looking.start()
    began = time.monotonic()
    try:
        yield
    finally:
        this.seconds = time.monotonic() - began
        over.set()
        looking.join()
        this.most_megabytes = max(this.most_megabytes, served.resident_megabytes())


if __name__ == "__main__":
    typer.run(main)
