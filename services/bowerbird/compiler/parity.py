"""The gate: a part that does not compute what the checkpoint computes stops the compile.

`graphs` takes the references while a component is in memory, frees it, and compares when the graphs are linked to their
weights: one side in memory at a time. Each part is compared at three fixed inputs of the smallest size (the denoiser at
three times, each row at its own), and at one of every other size. Whole pictures are compared by `pictures`.

Two questions are asked. Does the graph compute what the class computes with the same rounded weights? That is a matter
of 1e-4. And what did rounding cost? That is a matter of decibels, and for int8 the reason to refuse. Of a graph that
computes in fp16 only the second is asked (`compare_half`).
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray

from bowerbird.compiler.parts import Part, Shapes
from bowerbird.engine.backend import Floats, Session
from bowerbird.engine.backends.buckets import joined, split
from bowerbird.engine.backends.cpu import CpuSession
from bowerbird.engine.backends.onnx_runtime import CPU, open_session, session_options
from bowerbird.engine.bundle import MOTION
from bowerbird.engine.parity import HalfParity, ParityFacts

ROWS = 3
TOGETHER_PIXELS = 512 * 512
"""The largest pictures of which ROWS are asked for in one call. Of larger ones activations would need more memory than
all weights: of three of 1024 x 1024 an autoencoder's take 10 GB. So it is asked for one at a time, as the engine does,
and so is a denoiser of clips, a row of which is many pictures; one of stills, whose attention looks at every pair of
latents, for two and then one."""
PART_TOLERANCE = 2e-4
ROUNDING_TOLERANCE_DB = 30.0
MAX_PSNR_DB = 99.0
AUTOENCODER = ("decoder", "encoder", "preview")

Outputs = Mapping[str, Floats]


class BundleDiffers(Exception):
    """The compiled bundle does not compute what the checkpoint computes; it was not written."""


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """`rows` fixed inputs of one size, of which `together` are asked in one call."""

    part: Part
    shapes: Shapes
    rows: int
    together: int

    def inputs(self) -> dict[str, NDArray[Any]]:
        """By port; the same whenever they are asked for, so that nobody keeps them."""
        examples = self.part.examples(self.shapes, self.rows, torch.Generator().manual_seed(1))
        return {port: each.numpy() for port, each in zip(self.part.inputs, examples, strict=True)}

    def ask(self, component: Any) -> tuple[Outputs, float]:
        """The component's answers by port, and the seconds that one row took."""
        module = self.part.wrap(component).eval()

        def run(inputs: Mapping[str, Any]) -> Outputs:
            answer = module(*(torch.from_numpy(inputs[port]) for port in self.part.inputs))
            answers = answer if isinstance(answer, tuple) else (answer,)
            return {port: each.numpy() for port, each in zip(self.part.outputs, answers, strict=True)}

        begin = time.perf_counter()
        with torch.inference_mode():
            outputs = self.put(run)
        return outputs, (time.perf_counter() - begin) / self.rows

    def put(self, run: Callable[[dict[str, Any]], Outputs]) -> Outputs:
        """What `run` answers, by port."""
        return joined([run(inputs) for inputs in split(self.inputs(), self.together)])


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """What a component answers to a question: as it is, and with its weights rounded as they are kept."""

    question: Question
    exact: Outputs
    rounded: Outputs


def usual_question(part: Part, shapes: Shapes) -> Question:
    """ROWS rows, in one call where memory allows it."""
    pixels = shapes.latent_height * shapes.latent_width * shapes.downscale**2
    frames = {MOTION: shapes.window, "decoder": shapes.decoded_together}.get(part.role, 1)
    if pixels * max(1, frames) <= TOGETHER_PIXELS:
        return Question(part, shapes, ROWS, ROWS)
    return Question(part, shapes, ROWS, 1 if part.role in (*AUTOENCODER, MOTION) else 2)


def compare_part(part: Part, session: Session, references: Sequence[Reference]) -> ParityFacts:
    """The figures of one part; raises BundleDiffers above the tolerance, which scales with outputs beyond 1."""
    difference, tolerance, rounding, psnr_db, inputs = 0.0, PART_TOLERANCE, 0.0, MAX_PSNR_DB, 0
    for reference in references:
        outputs = reference.question.put(session.run)
        inputs += reference.question.rows
        for port in part.outputs:
            exact, rounded = reference.exact[port], reference.rounded[port]
            difference = max(difference, _difference(outputs[port], rounded))
            tolerance = max(tolerance, PART_TOLERANCE * float(np.abs(rounded).max()))
            rounding = max(rounding, _difference(exact, rounded))
            psnr_db = min(psnr_db, psnr(rounded, exact, float(np.ptp(exact))))
    if not difference <= tolerance:  # NaN is no match either
        raise BundleDiffers(f"{part.role} differs from the checkpoint by {difference:.2e} (tolerance {tolerance:.2e}).")
    if not psnr_db >= ROUNDING_TOLERANCE_DB:
        raise BundleDiffers(
            f"Rounded weights change what {part.role} answers to {psnr_db:.1f} dB PSNR; at least "
            f"{ROUNDING_TOLERANCE_DB} dB is wanted. A higher --precision keeps more."
        )
    return ParityFacts(
        max_abs_difference=difference,
        tolerance=tolerance,
        max_abs_rounding=rounding,
        rounding_psnr_db=round(psnr_db, 1),
        inputs=inputs,
    )


def compare_half(part: Part, session: Session, references: Sequence[Reference]) -> HalfParity:
    """The figures of a part in fp16, against the checkpoint as it was; raises BundleDiffers below the tolerance."""
    psnr_db, inputs = MAX_PSNR_DB, 0
    for reference in references:
        outputs = reference.question.put(session.run)
        inputs += reference.question.rows
        for port in part.outputs:
            exact, answer = reference.exact[port], outputs[port]
            if not np.isfinite(answer).all():
                raise BundleDiffers(f"{part.role} overflows in fp16; --no-half leaves it in float32.")
            psnr_db = min(psnr_db, psnr(answer, exact, float(np.ptp(exact))))
    if not psnr_db >= ROUNDING_TOLERANCE_DB:
        raise BundleDiffers(
            f"In fp16 {part.role} answers to {psnr_db:.1f} dB PSNR; at least {ROUNDING_TOLERANCE_DB} dB is wanted. "
            "--no-half leaves it in float32."
        )
    return HalfParity(psnr_db=round(psnr_db, 1), tolerance_db=ROUNDING_TOLERANCE_DB, inputs=inputs)


def frugal_session(graph: Path) -> Session:
    """A session that makes float32 of each weight when its layer runs and gives it back at once, not of all at load.

    Slower, and it does without the two copies that ONNX Runtime folds: for parts whose float32 would fill the machine.
    """
    options = session_options(len(os.sched_getaffinity(0)), {"session.disable_prepacking": "1"})
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.enable_cpu_mem_arena = False  # it keeps what it took, and what was a weight fits nothing that comes later
    options.enable_mem_pattern = False  # from the second run on it takes all that a run needs as one more block
    return CpuSession(open_session(graph, options, [CPU]))


def psnr(one: NDArray[Any], other: NDArray[Any], peak: float) -> float:
    """Peak signal-to-noise ratio in dB, at most 99."""
    error = float(np.mean((one.astype(np.float64) - other.astype(np.float64)) ** 2))
    if error == 0 or peak == 0:
        return MAX_PSNR_DB if error == 0 else -MAX_PSNR_DB
    return min(MAX_PSNR_DB, 10 * math.log10(peak**2 / error))


def _difference(one: Floats, other: Floats) -> float:
    return float(np.abs(one - other).max())
