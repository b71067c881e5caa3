"""A drawing as a stream of parts: what the engine makes, in the form in which it leaves.

`service` runs `parts_of` in its lane, so that arrays become bytes and digests in the drawing thread and the event loop
only passes them on.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Generator
from contextlib import closing

from starlette.types import Receive, Scope, Send

from bowerbird.contracts import DrawDone, DrawProgress, FrameFacts, seed_of
from bowerbird.engine.drawing import Engine, Frame, Order, Step, Summary
from bowerbird.engine.lane import Job
from bowerbird.frames import npy
from bowerbird.parts import Kind, part
from bowerbird.worker import PartsResponse


def parts_of(engine: Engine, order: Order, submitted: float) -> Generator[bytes, None, None]:
    """Progress after each step, one frames part per frame, `done` at the end; `submitted` is monotonic seconds."""
    queued = time.monotonic() - submitted
    with closing(engine.draw(order)) as events:
        for event in events:
            match event:
                case Step(step, steps, finished):
                    yield part(
                        Kind.PROGRESS, DrawProgress(step=step, steps=steps, finished=finished, count=order.count)
                    )
                case Frame(index, seed, pixels):
                    yield part(Kind.FRAMES, npy(pixels[None]), FrameFacts(index=index, seed=seed))
                case Summary():
                    yield part(Kind.DONE, _done(engine, order, event, queued))


def _done(engine: Engine, order: Order, summary: Summary, queued: float) -> DrawDone:
    return DrawDone(
        model=engine.bundle.manifest.name,
        digest=engine.bundle.digest,
        seeds=[seed_of(order.seed, index) for index in range(order.count)],
        seconds={"queue": queued, **summary.seconds},
        steps_computed=summary.steps_computed,
    )


class DrawResponse(PartsResponse):
    """The answer to `/draw`: speaks before anything is computed, and takes its job along when the client leaves."""

    def __init__(self, job: Job[bytes], order: Order) -> None:
        super().__init__(_spoken(job, order))
        self._job = job

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Streams; however that ends, also before the first byte, nothing is drawn any more afterwards."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._job.cancel()


async def _spoken(job: Job[bytes], order: Order) -> AsyncIterator[bytes]:
    yield part(Kind.PROGRESS, DrawProgress(step=0, steps=order.steps, finished=0, count=order.count))
    async for each in job.items():
        yield each
