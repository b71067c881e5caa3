"""A2: one clip from the prompt to pixels by the engine, against diffusers' AnimateDiff eager on the same weights.

A window of frames, guided, the same text encoder, steps and full decoder, one contender after the other in one run; no
server on either side. Both begin with the same noise and the clips are compared, so a gain that is bought with another
clip would show. `openvino` computes in bfloat16 where the processor has it, the eager pipeline in float32.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.engine import models
from benchmarks.engine.contender import Contender, take_turns
from benchmarks.engine.environments import PeerMissing, prepared, python_of
from benchmarks.engine.scale import Scale
from benchmarks.engine.whole_picture import psnr
from benchmarks.report import Row
from bowerbird.engine.bundle import Bundle

BACKENDS = ("cpu", "openvino")
GOAL = 2.5
PROMPT = "an american robin flapping its wings in winter"
STEPS = 20


def measure(scale: Scale) -> Iterator[Row]:
    """A2, a line for each backend."""
    if not (scale.bundle / "bundle.json").exists():
        raise PeerMissing(f"no bundle at {scale.bundle}")
    motion = Bundle.open(scale.bundle).drawing.motion
    if motion is None:
        raise PeerMissing(f"{scale.bundle.name} draws no clips")
    what = f"one clip of {motion.window} frames, {STEPS} steps, guided, full decoder"
    question: dict[str, Any] = {
        "prompt": PROMPT, "steps": STEPS, "guidance_scale": 2.5, "seed": 7,
        "frames": motion.window, "shared_noise": motion.shared_noise, "common_mean_from": motion.common_mean_from,
    }  # fmt: skip
    for backend in BACKENDS:
        by = f"`{backend}` against diffusers eager"
        try:
            ours, theirs, nearness = _turns(models.fledgling(scale.bundle), backend, question, scale.rounds)
        except PeerMissing as error:
            yield Row("A2", what, by, f">= {GOAL}x", note=str(error))
            continue
        figure = f"{theirs / ours:.2f}x ({ours:.2f} s against {theirs:.2f} s)"
        note = f"median of {scale.rounds}; PSNR of the two clips {nearness:.1f} dB"
        yield Row("A2", what, by, f">= {GOAL}x", figure, theirs / ours >= GOAL, note=note)


def _turns(model: models.Model, backend: str, question: dict[str, Any], rounds: int) -> tuple[float, float, float]:
    """Median seconds of ours and of theirs, and the PSNR of the two clips in dB."""
    python = python_of("openvino") if backend == "openvino" else None
    spec = {"bundle": str(model.bundle), "backend": backend, "cache": str(prepared())}
    with ExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory()))
        ours = running.enter_context(Contender("bowerbird", "bowerbird_clip.py", spec, python))
        peer = {"checkpoint": str(model.checkpoint)}
        theirs = running.enter_context(Contender("diffusers", "diffusers_clip.py", peer, python_of("diffusers")))
        turns = {
            each.name: lambda each=each: each.ask(**question, keep=str(folder / f"{each.name}.npy"))["seconds"]
            for each in (ours, theirs)
        }
        seconds = take_turns(turns, rounds)
        clips = [np.load(folder / f"{each.name}.npy").astype(float) for each in (ours, theirs)]
    return seconds["bowerbird"], seconds["diffusers"], psnr(*clips)
