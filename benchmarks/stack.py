"""`python -m benchmarks.stack`: what a person waits for, and what each process costs.

Starts the real stack (`bowerbird up`) on free ports with a state folder of its own, draws pictures one after the other
through the gateway and prints: process start to ready, one picture end to end, where its time goes, what everything
but the model's computing adds, how early the first preview of a streamed one comes, and resident memory by service.
Run it on an otherwise idle machine.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any

import psutil
import typer
from openai import OpenAI

from benchmarks.results import record, show

COMPUTING = ("draw.encode_text", "draw.denoise", "draw.decode")
GOALS_MS = {"end to end": 6000, "everything but computing": 60, "publish": 15}
GOAL_READY_SECONDS = 12
GOAL_FIRST_PREVIEW = 0.35
"""Of the time to the picture."""
GOAL_MEMORY_MB = {"gateway": 120}
GOAL_STAGE_MEMORY_MB = 450


@contextmanager
def stack(settings: Mapping[str, str] = {}) -> Iterator[dict[str, Any]]:
    """A running stack; the facts that `bowerbird up --json` prints when it is ready. `settings` by their variables."""
    with tempfile.TemporaryDirectory(prefix="bowerbird-") as home:
        command = [sys.executable, "-m", "bowerbird.cli", "up", "--json", "--no-self-check"]
        environment = os.environ | {"BOWERBIRD_HOME": home, "BOWERBIRD_PORT": "0"} | dict(settings)
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment) as process:  # noqa: S603
            assert process.stdout is not None  # noqa: S101 - it is a pipe; for the type checker
            line = process.stdout.readline()
            if not line:
                raise SystemExit("the stack did not start; run `bowerbird up` to see why")
            try:
                yield json.loads(line)
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait(60)


def picture(client: OpenAI, seed: int) -> dict[str, float]:
    """Milliseconds of one picture: `end to end` as the client saw it, the rest from the answer's Server-Timing."""
    begin = time.perf_counter()
    answer = client.images.with_raw_response.generate(
        prompt="an american robin perched on a branch in winter",
        extra_body={"seed": seed, "steps": 20, "candidates": 1},
    )
    spent = {"end to end": (time.perf_counter() - begin) * 1000}
    for entry in answer.headers["server-timing"].split(","):
        name, *parameters = entry.strip().split(";")
        spent[name] = next(float(value.removeprefix("dur=")) for value in parameters if value.startswith("dur="))
    spent["everything but computing"] = spent["end to end"] - sum(spent.get(name, 0.0) for name in COMPUTING)
    return spent


def first_preview(client: OpenAI, seed: int) -> tuple[float, float]:
    """Milliseconds to the first of three previews and to the picture, at the model's own number of steps."""
    begin, told = time.perf_counter(), list[float]()
    for _ in client.images.generate(
        prompt="an american robin perched on a branch in winter",
        stream=True,
        partial_images=3,
        extra_body={"seed": seed, "cache": "fresh"},
    ):
        told.append((time.perf_counter() - begin) * 1000)
    return told[0], told[-1]


def resident_megabytes(pid: int) -> float:
    """Resident memory of a process and its children, in MB (10**6 bytes); pages they share count once for each."""
    parent = psutil.Process(pid)
    return sum(each.memory_info().rss for each in (parent, *parent.children(recursive=True))) / 1e6


def main(pictures: Annotated[int, typer.Option(min=1, help="Pictures to draw, after one that warms up.")] = 10) -> None:
    """Measure the stack on this machine."""
    with stack() as facts:
        client = OpenAI(base_url=f"{facts['url']}/v1", api_key="benchmark", max_retries=0)
        picture(client, seed=0)
        spent = [picture(client, seed) for seed in range(1, pictures + 1)]
        streamed = [first_preview(client, seed) for seed in range(1, pictures + 1)]
        memory = {name: resident_megabytes(service["pid"]) for name, service in facts["services"].items()}
    medians = {name: statistics.median(each[name] for each in spent) for name in spent[0]}
    worst = {name: max(each[name] for each in spent) for name in spent[0]}

    show("Start", ["", "seconds", "goal"], [["process start to ready", f"{facts['seconds']:.1f}", GOAL_READY_SECONDS]])
    rows: list[list[object]] = [
        [name, f"{medians[name]:.1f}", f"{worst[name]:.1f}", GOALS_MS.get(name, "")] for name in medians
    ]
    show(f"One picture, 20 steps, guided, 1 candidate ({pictures} drawn)", ["", "median ms", "worst ms", "goal"], rows)
    preview, whole = (statistics.median(each) for each in zip(*streamed, strict=True))
    part = statistics.median(first / last for first, last in streamed)
    rows = [["first preview", f"{preview:.0f}", f"{part:.2f}", GOAL_FIRST_PREVIEW], ["picture", f"{whole:.0f}", "", ""]]
    show(f"One picture, streamed ({pictures} drawn)", ["", "median ms", "of the picture's", "goal"], rows)
    goals = {name: GOAL_MEMORY_MB.get(name, GOAL_STAGE_MEMORY_MB) for name in memory}
    show("Resident memory", ["", "MB", "goal"], [[name, f"{memory[name]:.0f}", goals[name]] for name in memory])
    shown = {"first_preview_ms": preview, "picture_ms": whole, "part": part}
    figures: dict[str, Any] = {"ready_seconds": facts["seconds"], "median_ms": medians, "worst_ms": worst}
    figures |= {"streamed": shown, "resident_mb": memory}
    print(f"written to {record('stack', figures).name}")


if __name__ == "__main__":
    typer.run(main)
