"""C3: one picture end to end, from the prompt to pixels, by the same text encoder, steps and full decoder.

SD 1.5's shape at 512 x 512 with few steps, as a distilled model draws (a picture of 20 steps takes eager torch minutes
on two cores), and fledgling with its 20. Guided. No server on either side. Both begin with the same noise; fledgling's
two pictures are compared, so a gain that is bought with another picture would show.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.engine import models
from benchmarks.engine.contender import Contender, take_turns
from benchmarks.engine.environments import PeerMissing, prepared, python_of
from benchmarks.engine.scale import Scale
from benchmarks.report import Row

GOALS = {"cpu": 1.6, "openvino": 3.0}
PROMPT = "an american robin in winter"
FEW_STEPS, MANY_STEPS = 4, 20


@dataclass(frozen=True, slots=True)
class Case:
    """One line: the model, its steps, and how many turns are worth their time."""

    make: Callable[[Scale], models.Model]
    steps: int
    rounds: int


CASES = (Case(lambda _: models.sd15(), FEW_STEPS, 3), Case(lambda scale: models.fledgling(scale.bundle), MANY_STEPS, 5))


def measure(scale: Scale) -> Iterator[Row]:
    """C3."""
    for backend, goal in GOALS.items():
        for case in CASES:
            by, what = f"`{backend}` against diffusers eager", f"one picture, {case.steps} steps, guided, full decoder"
            try:
                model = case.make(scale)
                what = f"{model.name}: {what}"
                ours, theirs, note = _turns(model, backend, case.steps, min(case.rounds, scale.rounds))
            except PeerMissing as error:
                yield Row("C3", what, by, f">= {goal}x", note=str(error))
                continue
            figure = f"{theirs / ours:.2f}x ({ours:.2f} s against {theirs:.2f} s)"
            yield Row("C3", what, by, f">= {goal}x", figure, theirs / ours >= goal, note=note)


def _turns(model: models.Model, backend: str, steps: int, rounds: int) -> tuple[float, float, str]:
    """Median seconds of ours and of theirs, and how near the two pictures are."""
    python = python_of("openvino") if backend == "openvino" else None
    spec = {"bundle": str(model.bundle), "backend": backend, "cache": str(prepared())}
    question: dict[str, Any] = {"prompt": PROMPT, "steps": steps, "guidance_scale": 2.5, "seed": 7}
    with ExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory()))
        ours = running.enter_context(Contender("bowerbird", "bowerbird_picture.py", spec, python))
        peer = {"checkpoint": str(model.checkpoint)}
        theirs = running.enter_context(Contender("diffusers", "diffusers_picture.py", peer, python_of("diffusers")))
        turns = {
            each.name: lambda each=each: each.ask(**question, keep=str(folder / f"{each.name}.npy"))["seconds"]
            for each in (ours, theirs)
        }
        seconds = take_turns(turns, rounds)
        pictures = [np.load(folder / f"{each.name}.npy").astype(float) for each in (ours, theirs)]
    note = f"median of {rounds}; PSNR of the two pictures {psnr(*pictures):.1f} dB"
    return seconds["bowerbird"], seconds["diffusers"], note


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    """Of two pictures in 0..255, in dB; infinite when they are equal."""
    error = float(np.mean((one - other) ** 2))
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)
