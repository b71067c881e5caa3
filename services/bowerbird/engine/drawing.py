"""Drawing: from a request to frames, one step after the other.

`text_to_image` checks a request with `Engine.order` before it answers, and then drives `Engine.draw` in a lane. `draw`
is a generator that gives the word back after every step and every decoded frame: whoever drives it looks at cancel and
deadline in between, and closing it stops the work; no callback, flag or thread reaches into the engine.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from opentelemetry import trace

from bowerbird.contracts import DrawRequest, Size, seed_of
from bowerbird.engine.backend import Backend, Ids
from bowerbird.engine.bundle import SAMPLERS, TOKENIZER, Bundle
from bowerbird.engine.decoder import Decoder
from bowerbird.engine.denoiser import Denoiser, Group
from bowerbird.engine.metrics import STEP_SECONDS, STEPS
from bowerbird.engine.sampler import read_sampler_tables
from bowerbird.engine.text_encoder import TextEncoder
from bowerbird.engine.tokenizer import PromptTokenizer
from bowerbird.errors import BundleInvalid, FieldUnknown, RequestInvalid, SizeUnsupported

tracer = trace.get_tracer("bowerbird.engine")


@dataclass(frozen=True, slots=True)
class Order:
    """A request that this engine can draw: checked and tokenised. Frame k has the seed `seed_of(seed, k)`."""

    positive: Ids = field(repr=False)
    negative: Ids | None = field(repr=False)
    size: Size
    steps: int
    guidance_scale: float
    seed: int
    count: int


@dataclass(frozen=True, slots=True)
class Step:
    """A batch of frames is after its step `step` of `steps`; `finished` frames of the order are decoded."""

    step: int
    steps: int
    finished: int


@dataclass(frozen=True, slots=True)
class Frame:
    """A finished frame, uint8 `[height, width, 3]`, RGB."""

    index: int
    seed: int
    pixels: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Summary:
    """The end of an order: seconds by phase and how many steps of frames were computed (three frames' step is 3)."""

    seconds: dict[str, float]
    steps_computed: int


class Engine:
    """A text-to-image bundle, loaded."""

    def __init__(self, bundle: Bundle, backend: Backend) -> None:
        self.bundle = bundle
        self.facts = bundle.drawing
        self.tokenizer = PromptTokenizer(bundle.path(TOKENIZER), bundle.tokenizer)
        self.tables = read_sampler_tables(bundle.path(SAMPLERS))
        if set(self.tables) != set(range(1, self.facts.max_steps + 1)):
            raise BundleInvalid(
                f"{bundle.path(SAMPLERS)} does not hold a table for each of 1-{self.facts.max_steps} steps."
            )
        self.text_encoder = TextEncoder(
            backend.load(bundle.path(bundle.part("text_encoder").graph)), bundle.part_digest("text_encoder")
        )
        self.denoiser = Denoiser(backend.load(bundle.path(bundle.part("denoiser").graph), rowwise=True))
        self.decoder = Decoder(backend.load(bundle.path(bundle.part("decoder").graph)), self.facts.latents)
        self.rows_per_batch = backend.efficient_rows

    def order(self, request: DrawRequest) -> Order:
        """The request, checked against this model; costs no computing.

        Raises SizeUnsupported, PromptTooLong, RequestInvalid (steps) or FieldUnknown (a negative prompt that nothing
        would read).
        """
        if request.size not in self.facts.sizes:
            sizes = ", ".join(str(size) for size in self.facts.sizes)
            raise SizeUnsupported(f"{request.size} is not drawn by this model; it draws {sizes}.", param="size")
        if request.steps not in self.tables:
            raise RequestInvalid(f"steps is {request.steps}; this model takes 1-{self.facts.max_steps}.", param="steps")
        if request.negative_prompt is not None and request.guidance_scale == 1:
            raise FieldUnknown("negative_prompt has no effect with guidance_scale 1.", param="negative_prompt")
        positive = self.tokenizer.ids(request.prompt)
        negative = self.tokenizer.ids(request.negative_prompt or "", "negative_prompt")
        return Order(
            positive,
            None if request.guidance_scale == 1 else negative,
            request.size,
            request.steps,
            request.guidance_scale,
            request.seed,
            request.count,
        )

    def draw(self, order: Order) -> Generator[Step | Frame | Summary, None, None]:
        """Frames in their order, with the steps between them, then one Summary.

        Raises DrawingDiverged when a frame becomes NaN or infinite.
        """
        watch = _Stopwatch()
        with tracer.start_as_current_span("encode_text"), watch.phase("encode_text"):
            groups = self._groups(order)
        at_once = max(1, self.rows_per_batch // groups[0].rows)
        for first in range(0, order.count, at_once):
            batch = groups[first : first + at_once]
            yield from self._denoise(batch, watch)
            for group in batch:
                with tracer.start_as_current_span("decode"), watch.phase("decode"):
                    pixels = self.decoder.frame(group.latents)
                yield Frame(group.index, group.seed, pixels)
        yield Summary(watch.seconds, sum(group.call for group in groups))

    def warm_up(self) -> None:
        """Draws one guided frame in one step: first runs allocate, and nobody should wait for that."""
        blank = self.tokenizer.ids("")
        order = Order(blank, blank, self.facts.sizes[0], steps=1, guidance_scale=2.0, seed=0, count=1)
        (group,) = self._groups(order)
        self.denoiser.step([group])
        self.decoder.frame(group.latents)

    def _groups(self, order: Order) -> list[Group]:
        positive = self.text_encoder.states(order.positive)
        negative = None if order.negative is None else self.text_encoder.states(order.negative)
        latents = self.facts.latents
        shape = (latents.channels, order.size.height // latents.downscale, order.size.width // latents.downscale)
        return [
            Group(
                index=index,
                seed=seed_of(order.seed, index),
                table=self.tables[order.steps],
                guidance_scale=order.guidance_scale,
                positive=positive,
                negative=negative,
                latent_shape=shape,
            )
            for index in range(order.count)
        ]

    def _denoise(self, batch: list[Group], watch: _Stopwatch) -> Iterator[Step]:
        calls = batch[0].table.calls
        rows = sum(group.rows for group in batch)
        with tracer.start_as_current_span("denoise", attributes={"bowerbird.frames": len(batch)}):
            for call in range(calls):
                attributes = {"bowerbird.step": call + 1, "bowerbird.batch_rows": rows}
                with (
                    tracer.start_as_current_span("denoise_step", attributes=attributes),
                    watch.phase("denoise") as spent,
                ):
                    self.denoiser.step(batch)
                STEP_SECONDS.labels(rows).observe(spent[0])
                STEPS.inc(len(batch))
                yield Step(call + 1, calls, finished=batch[0].index)


class _Stopwatch:
    """Seconds by phase, summed over however often a phase is entered."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[list[float]]:
        """Adds what the block takes; the list holds it afterwards."""
        begin = time.perf_counter()
        spent: list[float] = []
        try:
            yield spent
        finally:
            spent.append(time.perf_counter() - begin)
            self.seconds[name] = self.seconds.get(name, 0.0) + spent[0]
