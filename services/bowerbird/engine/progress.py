"""An order on its way: its groups, its seconds by phase, and its spans.

Its pieces are computed together with those of others, by a thread that knows no request. The thread notes what a piece
took (`computed`); whoever hands its events on writes it into the trace of the request (`trace`), because making a span
costs more than deciding what is next, and the next step should not wait for it. The spans are `encode_text`, `denoise`
with a `denoise_step` for each step, `preview` and `decode`. `denoise` lasts from the first step to the last, waiting
included; a step says how many rows its batch had and which part of it was its own.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from opentelemetry import context, trace
from opentelemetry.trace import Span, StatusCode

from bowerbird.engine.lora.banks import LoraRow
from bowerbird.engine.model.denoiser import Group
from bowerbird.engine.order import Order, Summary
from bowerbird.engine.scheduling.work import Batch, Stage, Task

tracer = trace.get_tracer("bowerbird.engine")


@dataclass(frozen=True, slots=True)
class Piece:
    """What was computed for one order in one turn: `steps` (from 1) of its frames, with their part of `rows`.

    After the `last` one, none of its frames has a step left.
    """

    stage: Stage
    began_ns: int
    ended_ns: int
    rows: int
    steps: dict[int, float]
    last: bool


class Drawing:
    """What the engine keeps of an order while it is drawn; made in the caller's context."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.groups: list[Group] = []
        self.lora: LoraRow | None = None
        self.finished = 0
        self.steps_computed = 0
        self.seconds: dict[str, float] = {}
        self._begin = time.perf_counter()
        self._context = context.get_current()
        self._denoise: Span | None = None
        self._in_denoise = self._context

    def computed(self, batch: Batch[Drawing], tasks: list[Task[Drawing]], began_ns: int, seconds: float) -> Piece:
        """Pieces of it, `tasks`, were computed in a batch that began at `began_ns` (Unix) and took `seconds`."""
        self.seconds[batch.stage] = self.seconds.get(batch.stage, 0.0) + seconds
        if batch.stage is Stage.DECODE:
            clip = self.order.clip
            self.finished += sum(len(clip.chunk(task.part)[0]) if clip else 1 for task in tasks)
        rows, steps, last = batch.rows, dict[int, float](), False
        if batch.stage is Stage.STEP:
            drawn = self.order.clip.drawn if self.order.clip else 1
            self.steps_computed += drawn * sum(task.completes_step for task in tasks)
            for task in tasks:
                steps[task.call + 1] = steps.get(task.call + 1, 0.0) + task.work.shape.rows / rows
            last = all(group.finished for group in self.groups)
        return Piece(batch.stage, began_ns, began_ns + int(seconds * 1e9), rows, steps, last)

    def trace(self, piece: Piece) -> None:
        """Writes the piece into the request's trace."""
        if piece.stage is not Stage.STEP:
            tracer.start_span(piece.stage.value, self._context, start_time=piece.began_ns).end(piece.ended_ns)
            return
        if self._denoise is None:
            facts = {"bowerbird.frames": self.order.count}
            self._denoise = tracer.start_span("denoise", self._context, attributes=facts, start_time=piece.began_ns)
            self._in_denoise = trace.set_span_in_context(self._denoise, self._context)
        for step, share in piece.steps.items():
            attributes = {"bowerbird.step": step, "bowerbird.batch_rows": piece.rows, "bowerbird.share": share}
            span = tracer.start_span("denoise_step", self._in_denoise, attributes=attributes, start_time=piece.began_ns)
            span.end(piece.ended_ns)
        if piece.last:
            self.close(piece.ended_ns)

    def close(self, now_ns: int | None = None, error: Exception | None = None) -> None:
        """No step follows; harmless when that was known."""
        if self._denoise is not None:
            if error is not None:
                self._denoise.set_status(StatusCode.ERROR, type(error).__name__)
            self._denoise.end(now_ns or time.time_ns())
            self._denoise = None

    def summary(self) -> Summary:
        """What it took."""
        spent = time.perf_counter() - self._begin
        queue = max(0.0, spent - sum(self.seconds.values()))
        return Summary({"queue": queue, **self.seconds}, self.steps_computed)
