"""C7: what a second worker on the same machine costs, and how long its sessions take to load.

While worker 1 runs, worker 2 loads text encoder, denoiser and decoder: ours from graphs prepared once for this machine
and mapped into memory, against `onnxruntime.InferenceSession` on the bundle's files with its defaults. Private memory
(smaps_rollup, clean and dirty) is counted, because pages that two workers share are paid once. Activations come on top
for both when they compute; the note has them.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import Any

from benchmarks.engine import models
from benchmarks.engine.contender import Contender
from benchmarks.engine.environments import PeerMissing, prepared
from benchmarks.engine.scale import Scale
from benchmarks.report import Row

BY = "`cpu` against a plain InferenceSession"


def measure(scale: Scale) -> Iterator[Row]:
    """C7."""
    yield from _rows("fledgling" if not scale.small else scale.bundle.name, str(scale.bundle), scale)
    if not scale.small:
        try:
            yield from _rows("SD 1.5-shaped", str(models.sd15().bundle), scale)
        except PeerMissing as error:
            yield Row("C7", "SD 1.5-shaped: private memory of worker 2", BY, "<= 15 %", note=str(error))


def _rows(name: str, bundle: str, scale: Scale) -> Iterator[Row]:
    rounds = 1 if scale.small else scale.rounds
    figures: dict[bool, list[dict[str, Any]]] = {False: [], True: []}
    first = {"bundle": bundle, "naive": False, "cache": str(prepared())}
    with Contender("worker 1", "worker_load.py", first) as worker:
        worker.ask(step=True)
        for _ in range(rounds):
            for naive, loaded in figures.items():
                with Contender("worker 2", "worker_load.py", first | {"naive": naive}) as second:
                    loaded.append({**second.facts, "after_step_mb": second.ask(step=True)["private_mb"]})
    ours, plain = (_medians(figures[naive]) for naive in (False, True))
    share = ours["private_mb"] / max(plain["private_mb"], 1e-9)
    figure = f"{100 * share:.1f} % ({ours['private_mb']:.1f} against {plain['private_mb']:.1f} MB)"
    note = f"after a step {ours['after_step_mb']:.0f} against {plain['after_step_mb']:.0f} MB; median of {rounds}"
    yield Row("C7", f"{name}: private memory of worker 2", BY, "<= 15 %", figure, share <= 0.15, note=note)
    ratio = ours["load_seconds"] / plain["load_seconds"]
    figure = f"{ratio:.2f}x ({ours['load_seconds']:.3f} against {plain['load_seconds']:.3f} s)"
    yield Row("C7", f"{name}: session load", BY, "<= 0.6x", figure, ratio <= 0.6, note=f"median of {rounds}")


def _medians(loaded: list[dict[str, Any]]) -> dict[str, float]:
    return {key: statistics.median(each[key] for each in loaded) for key in loaded[0]}
