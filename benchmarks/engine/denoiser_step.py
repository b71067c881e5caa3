"""C1 and C2: one denoiser step.

C1: a guided step (two rows) of SD 1.5's shape at 512 x 512, against diffusers eager. Both in float32 with the same
random weights; diffusers with channels last, SDPA and inference mode, torch with as many threads as cores. Our
`openvino` row computes in bfloat16 where the processor has it, so it is measured against the same eager float32 and
its goal is higher.

C2: a guided step of fledgling against torch.compile with freezing and static shapes, both float32. What torch.compile
takes before the first step stands beside what ours takes: graphs are exported once, when a bundle is made, not by every
worker.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

from benchmarks.engine import models
from benchmarks.engine.contender import Contender, take_turns
from benchmarks.engine.environments import PeerMissing, prepared, python_of
from benchmarks.engine.scale import Scale
from benchmarks.report import Row

ROWS = 2
GOALS = {"cpu": 1.6, "openvino": 3.0}


def one_step(scale: Scale) -> Iterator[Row]:
    """C1."""
    model = models.sd15()
    what = "one guided SD 1.5-shaped step, 512²"
    for backend, goal in GOALS.items():
        named = f"`{backend}` against diffusers eager fp32"
        try:
            seconds = _turns(scale, model, backend, compiled=False, steps=1)[0]
        except PeerMissing as error:
            yield Row("C1", what, named, f">= {goal}x", note=str(error))
            continue
        ratio = seconds["diffusers"] / seconds["bowerbird"]
        figure = f"{ratio:.2f}x ({seconds['bowerbird']:.2f} s against {seconds['diffusers']:.2f} s)"
        yield Row("C1", what, named, f">= {goal}x", figure, ratio >= goal, note=f"median of {scale.rounds}")


def compiled_step(scale: Scale) -> Iterator[Row]:
    """C2."""
    seconds, ours, theirs = _turns(scale, models.fledgling(scale.bundle), "cpu", compiled=True, steps=20)
    ratio = seconds["diffusers"] / seconds["bowerbird"]
    figure = f"{ratio:.2f}x ({1e3 * seconds['bowerbird']:.1f} ms against {1e3 * seconds['diffusers']:.1f} ms)"
    note = (
        f"before the first step: {ours:.1f} s against {theirs:.0f} s of compiling; median of {scale.rounds} x 20 steps"
    )
    by = "`cpu` against torch.compile, freezing, fp32"
    yield Row("C2", "one guided fledgling step, 256²", by, ">= 1.4x, no 90 s compile", figure, ratio >= 1.4, note=note)


def _turns(
    scale: Scale, model: models.Model, backend: str, compiled: bool, steps: int
) -> tuple[dict[str, float], float, float]:
    """Median seconds by contender, and what each took before its first step."""
    python = python_of("openvino") if backend == "openvino" else None
    spec = {"bundle": str(model.bundle), "backend": backend, "cache": str(prepared())}
    peer = {"checkpoint": str(model.checkpoint), "compiled": compiled, "rows": ROWS}
    with ExitStack() as running:
        ours = running.enter_context(Contender("bowerbird", "bowerbird_step.py", spec, python))
        theirs = running.enter_context(Contender("diffusers", "diffusers_step.py", peer, python_of("diffusers")))
        turns = {each.name: lambda each=each: each.ask(rows=ROWS, steps=steps)["seconds"] for each in (ours, theirs)}
        seconds = take_turns(turns, scale.rounds)
        return seconds, ours.facts["ready_seconds"], theirs.facts.get("compile_seconds", theirs.facts["ready_seconds"])
