"""A drawing as a stream of parts: what the engine makes, in the form in which it leaves.

`answering` answers with a `DrawResponse`. The computing thread hands over events and goes on with its next batch;
arrays become bytes and digests here, large ones in a thread of their own (a picture of 1024 x 1024 takes some
milliseconds, for which neither the event loop nor a GPU should wait).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Sequence

import numpy as np
from starlette.types import Receive, Scope, Send

from bowerbird.contracts import Digest, DrawDone, DrawProgress, FrameFacts, LoraId, PreviewFacts, seed_of
from bowerbird.engine.bundle import Bundle
from bowerbird.engine.job import Job
from bowerbird.engine.order import Event, Frame, Order, PreviewFrame, Step, Summary
from bowerbird.frames import npy
from bowerbird.parts import Kind, part
from bowerbird.worker import LastParts, PartsResponse

LARGE_BYTES = 1024 * 1024


class DrawResponse(PartsResponse):
    """A drawing as an answer: speaks before anything is computed, and takes its job along when the client leaves."""

    def __init__(self, job: Job, order: Order, bundle: Bundle, *, tells_steps: bool = True) -> None:
        super().__init__(_spoken(job, order, bundle, tells_steps=tells_steps))
        self._job = job

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Streams; however that ends, also before the first byte, nothing is drawn any more afterwards."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._job.cancel()


async def _spoken(job: Job, order: Order, bundle: Bundle, *, tells_steps: bool) -> AsyncIterator[bytes | LastParts]:
    """Progress (of each step where somebody reads it), previews where asked for, a frames part per frame, `done`."""
    yield part(Kind.PROGRESS, DrawProgress(step=0, steps=order.steps, finished=0, count=order.frames))
    async for made in job.turns():
        events = [event for event in made if tells_steps or not isinstance(event, Step)]
        if not events:
            continue
        if any(isinstance(event, Frame) and event.pixels.nbytes > LARGE_BYTES for event in events):
            parts = await asyncio.to_thread(_parts_of, events, order, bundle)
        else:
            parts = _parts_of(events, order, bundle)
        yield LastParts(parts) if isinstance(events[-1], Summary) else b"".join(parts)


def _parts_of(events: Sequence[Event], order: Order, bundle: Bundle) -> list[bytes]:
    return [part_of(event, order, bundle) for event in events]


def part_of(event: Event, order: Order, bundle: Bundle) -> bytes:
    """One event as one part."""
    match event:
        case Step(step, steps, finished):
            return part(Kind.PROGRESS, DrawProgress(step=step, steps=steps, finished=finished, count=order.frames))
        case PreviewFrame(index, step, steps, pixels):
            facts = PreviewFacts(index=index, step=step, steps=steps, digest=bundle.digest, loras=_digests(order))
            return part(Kind.PREVIEW, npy(pixels[None]), facts)
        case Frame(index, seed, pixels):
            return part(Kind.FRAMES, npy(pixels[None]), FrameFacts(index=index, seed=seed))
        case Summary(seconds, steps_computed):
            done = DrawDone(
                model=bundle.manifest.name,
                digest=bundle.digest,
                seeds=[seed_of(order.seed, index) for index in range(order.count)],
                seconds=seconds,
                steps_computed=steps_computed,
                loras=_digests(order),
                text_tokens=_text_tokens(order, bundle),
                image_tokens=math.prod(bundle.drawing.latents.shape(order.size)[1:]),
            )
            return part(Kind.DONE, done)


def _digests(order: Order) -> dict[LoraId, Digest]:
    return {file.id: file.digest for file, _ in order.loras}


def _text_tokens(order: Order, bundle: Bundle) -> int:
    """What the first text encoder reads of both prompts, without begin and end markers; 0 where there is none."""
    if not bundle.drawing.reads_prompts:
        return 0
    prompts = [order.positive] if order.negative is None else [order.positive, order.negative]
    return sum(int(np.argmax(ids.arrays[0][1:] == bundle.tokenizer.end_id)) for ids in prompts)
