"""A1, A4, A5: clips through `bowerbird up`: how long one takes, its memory, what a still beside one pays.

A clip is asked for as a person would ask, by the Python client: accepted, drawn, looked at, judged, encoded, signed,
stored, fetched. Memory is the resident memory of animation's processes; pages that they share count once for each.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from openai import OpenAI

from benchmarks.engine.environments import PeerMissing
from benchmarks.engine.scale import Scale
from benchmarks.report import Row
from benchmarks.stack import resident_megabytes, stack
from bowerbird.client import Client, Clip, ClipOptions

PROMPT = "an american robin flapping its wings in winter"
GOAL_SECONDS, GOAL_MEGABYTES, GOAL_BESIDE = 20.0, 900.0, 2.5
GOAL_GROWTH = 0.02
"""Of the memory after the first ten clips: what "flat" means here."""
CLIPS, WARM = 100, 10
PATIENCE_SECONDS = 1800.0
SHORT: ClipOptions = {"seconds": 2, "fps": 8, "format": "mp4", "candidates": 1}
LONG: ClipOptions = {"seconds": 5, "fps": 24, "format": "mp4", "candidates": 1}


@contextmanager
def _served(scale: Scale) -> Iterator[tuple[dict[str, Any], Client]]:
    if not (scale.bundle / "bundle.json").exists():
        raise PeerMissing(f"no bundle at {scale.bundle}")
    with (
        stack({"BOWERBIRD_MOTION_MODEL": str(scale.bundle)}) as facts,
        Client(facts["url"], timeout_seconds=PATIENCE_SECONDS) as client,
    ):
        _clip(client, SHORT, 0, 2)
        yield facts, client


def end_to_end(scale: Scale) -> Iterator[Row]:
    """A1: sixteen frames, from the request to the file."""
    with _served(scale) as (_, client):
        seconds = [_seconds(partial(_clip, client, SHORT, seed, 20)) for seed in range(1, scale.rounds + 1)]
        long = _seconds(lambda: _clip(client, LONG, 1, 20))
    median = statistics.median(seconds)
    note = f"median of {scale.rounds}; 5 s at 24 a second (120 frames of 40 drawn ones) {long:.1f} s"
    what = "16 frames, 20 steps, guided, from the request to the signed MP4"
    yield Row(
        "A1",
        what,
        "`bowerbird up`, `cpu`",
        f"<= {GOAL_SECONDS:g} s",
        f"{median:.2f} s",
        median <= GOAL_SECONDS,
        note=note,
    )


def memory(scale: Scale) -> Iterator[Row]:
    """A4: animation's memory at its largest clip, and over a hundred clips."""
    with _served(scale) as (facts, client):
        pid = facts["services"]["animation"]["pid"]
        peak = _peak(pid, lambda: _clip(client, LONG, 1, 20))
        by = "`bowerbird up`, animation"
        holds = peak <= GOAL_MEGABYTES
        yield Row(
            "A4", "memory while 5 s at 24 a second are drawn", by, f"<= {GOAL_MEGABYTES:g} MB", f"{peak:.0f} MB", holds
        )
        seen = []
        for seed in range(CLIPS):
            _clip(client, SHORT, seed, 2)
            seen.append(resident_megabytes(pid))
    early, late = (statistics.median(each) for each in (seen[WARM : 2 * WARM], seen[-WARM:]))
    growth = late / early - 1
    figure = f"{100 * growth:+.1f} % ({early:.0f} to {late:.0f} MB)"
    what = f"memory over {CLIPS} clips of 16 frames and 2 steps: clips {WARM} to {2 * WARM} against the last {WARM}"
    yield Row("A4", what, by, f"flat (<= {100 * GOAL_GROWTH:+g} %)", figure, growth <= GOAL_GROWTH)


def beside_a_clip(scale: Scale) -> Iterator[Row]:
    """A5: a still alone, and beside a clip that is being drawn."""
    with _served(scale) as (facts, client):
        stills = OpenAI(base_url=f"{facts['url']}/v1", api_key="benchmark", max_retries=0)
        count = 4 * scale.rounds
        _still(stills, 0)
        alone = statistics.median(_seconds(partial(_still, stills, seed)) for seed in range(1, count))
        with _drawing_clips(client):
            beside = [_seconds(partial(_still, stills, seed)) for seed in range(count, 2 * count)]
    ratio = statistics.median(beside) / alone
    figure = f"{ratio:.2f}x ({statistics.median(beside):.2f} s against {alone:.2f} s)"
    note = f"medians of {count}; the slowest beside one {max(beside):.2f} s"
    what = "a still, 20 steps, beside a clip that is being drawn, against alone"
    yield Row("A5", what, "`bowerbird up`, `cpu`", f"<= {GOAL_BESIDE}x", figure, ratio <= GOAL_BESIDE, note=note)


def _clip(
    client: Client, options: ClipOptions, seed: int, steps: int, on_progress: Callable[[object], None] | None = None
) -> Clip:
    asked: ClipOptions = {**options, "seed": seed, "steps": steps}
    return client.animate(PROMPT, on_progress=on_progress, **asked)


def _still(client: OpenAI, seed: int) -> object:
    return client.images.generate(prompt=PROMPT, extra_body={"seed": seed, "steps": 20, "candidates": 1})


def _seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def _peak(pid: int, work: Callable[[], object]) -> float:
    """The largest resident memory, in MB, that was seen every twentieth of a second while `work` ran."""
    done, peak = threading.Event(), 0.0

    def look() -> None:
        nonlocal peak
        while not done.wait(0.05):
            peak = max(peak, resident_megabytes(pid))

    looking = threading.Thread(target=look)
    looking.start()
    try:
        work()
    finally:
        done.set()
        looking.join()
    return peak


@contextmanager
def _drawing_clips(client: Client) -> Iterator[None]:
    """One clip after the other is drawn, from before the block begins until after it ends."""
    begun, enough = threading.Event(), threading.Event()

    def draw() -> None:
        seed = 1000
        while not enough.is_set():
            seed += 1
            _clip(client, SHORT, seed, 20, on_progress=lambda _: begun.set())

    drawing = threading.Thread(target=draw)
    drawing.start()
    try:
        begun.wait(PATIENCE_SECONDS)
        yield
    finally:
        enough.set()
        drawing.join()
