"""Drawing: a bundle, loaded, and the four things it computes.

`order` checks a request before anything is computed. `work` makes of it what the scheduler schedules; then, in turns
that `core` gives out,

    encode    the prompts as conditioning, and the picture that it begins with, once, and the LoRAs in their slots
    step      one denoiser call for groups of any requests
    preview   what a group will be
    decode    latents as pixels

`draw` does all that for one order, alone and without threads: the compiler's gate and `bowerbird train quality` use it,
a service uses `executor`.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from pathlib import Path

from bowerbird.contracts import Beginning, DrawRequest, Size, seed_of
from bowerbird.engine.backend import Backend, Session, computes_in_half
from bowerbird.engine.bundle import SAMPLERS, Bundle
from bowerbird.engine.core import EngineCore
from bowerbird.engine.lora.banks import LoraBanks, LoraRow
from bowerbird.engine.lora.shelf import LoraShelf
from bowerbird.engine.model.conditioning import Conditioner
from bowerbird.engine.model.decoder import Decoder
from bowerbird.engine.model.denoiser import Denoiser, Group
from bowerbird.engine.model.encoder import Encoder, FirstPicture
from bowerbird.engine.model.preview import ROLE as PREVIEW_ROLE
from bowerbird.engine.model.preview import Preview
from bowerbird.engine.model.sampler import read_sampler_tables
from bowerbird.engine.order import Event, Frame, Order, PreviewFrame, Step, Summary
from bowerbird.engine.progress import Drawing
from bowerbird.engine.scheduling.costs import CostTable
from bowerbird.engine.scheduling.work import Batch, Bucket, Claim, Shape, Stage, Task, Work
from bowerbird.engine.warm_up import warm_up
from bowerbird.errors import BundleInvalid, DrawingFailed, FieldUnknown, RequestInvalid, SizeUnsupported
from bowerbird.frames import Frames

__all__ = ["Engine", "Event", "Frame", "Order", "PreviewFrame", "Step", "Summary"]

Results = dict[Task[Drawing], Event | DrawingFailed | None]


class Engine:
    """A text-to-image bundle, loaded."""

    def __init__(
        self,
        bundle: Bundle,
        backend: Backend,
        *,
        loras: Path | None = None,
        lora_slots: int = 8,
        fixed_batch: bool = False,
    ) -> None:
        """`loras` is the folder of LoRA files; with `fixed_batch` every call has one shape, that of the largest batch.

        Raises BundleInvalid for a bundle that cannot draw.
        """
        self.bundle = bundle
        self.facts = bundle.drawing
        self.tables = read_sampler_tables(bundle.path(SAMPLERS))
        if set(self.tables) != set(range(1, self.facts.max_steps + 1)):
            raise BundleInvalid(
                f"{bundle.path(SAMPLERS)} does not hold a table for each of 1-{self.facts.max_steps} steps."
            )
        self.shelf = LoraShelf(loras, bundle)
        takes_loras = loras is not None and bool(bundle.manifest.lora)
        self.banks = LoraBanks(bundle, backend, lora_slots, fixed=fixed_batch) if takes_loras else None
        self.conditioner = Conditioner(bundle, backend, self.banks)
        self.denoiser = Denoiser(
            _load(bundle, backend, "denoiser"),
            (_load(bundle, backend, "denoiser_lora"), self.banks) if self.banks else None,
        )
        self.decoder = Decoder(_load(bundle, backend, "decoder"))
        self.encoder = Encoder(_load(bundle, backend, "encoder")) if "encoder" in bundle.manifest.parts else None
        can_preview = PREVIEW_ROLE in bundle.manifest.parts or self.facts.preview is not None
        self.preview = Preview(bundle, backend) if can_preview else None
        self.costs = CostTable()
        self.fixed_batch = fixed_batch
        self.limit_rows(backend.efficient_rows)
        self.measures_rows = backend.measure_rows

    @property
    def max_lora_rank(self) -> int:
        """Of a LoRA that can be used here; 0 when none can."""
        return self.banks.max_rank if self.banks else 0

    def order(self, request: DrawRequest, pictures: Sequence[Frames] = ()) -> Order:
        """The request, checked against this model; costs no computing, but reads the files of LoRAs it names.

        `pictures` are what it begins with (`contracts.Beginning`), each uint8 `[1, height, width, 3]`.

        Raises SizeUnsupported, PromptTooLong, RequestInvalid (steps), LoraUnknown, LoraInvalid, or FieldUnknown (a
        negative prompt that nothing would read, previews that this bundle cannot make).
        """
        facts = self.facts
        if request.size not in facts.sizes:
            sizes = ", ".join(str(size) for size in facts.sizes)
            raise SizeUnsupported(f"{request.size} is not drawn by this model; it draws {sizes}.", param="size")
        if request.steps not in self.tables:
            raise RequestInvalid(f"steps is {request.steps}; this model takes 1-{facts.max_steps}.", param="steps")
        one_row = request.guidance_scale == 1 or facts.embeds_guidance
        if request.negative_prompt is not None and one_row:
            why = "on this model, which has guidance built in" if facts.embeds_guidance else "with guidance_scale 1"
            raise FieldUnknown(f"negative_prompt has no effect {why}.", param="negative_prompt")
        if request.preview_steps and self.preview is None:
            raise FieldUnknown("preview_steps has no effect: this model has no previews.", param="preview_steps")
        negative = None if one_row else self.conditioner.ids(request.negative_prompt or "", "negative_prompt")
        return Order(
            positive=self.conditioner.ids(request.prompt),
            negative=negative,
            size=request.size,
            steps=request.steps,
            guidance_scale=request.guidance_scale,
            seed=request.seed,
            count=request.count,
            loras=tuple((self.shelf.find(use.id), use.weight) for use in request.lora),
            preview_steps=request.preview_steps,
            max_previews=request.max_previews,
            first=None if request.beginning is None else self._first(request, request.beginning, pictures),
        )

    def _first(self, request: DrawRequest, beginning: Beginning, pictures: Sequence[Frames]) -> FirstPicture:
        """The picture that the request begins with; raises FieldUnknown or RequestInvalid."""
        if self.encoder is None:
            raise FieldUnknown("beginning has no effect: this bundle has no encoder.", param="beginning")
        size = (1, request.size.height, request.size.width, 3)
        if [picture.shape for picture in pictures] != [size] * (2 if beginning.masked else 1):
            raise RequestInvalid(f"The pictures to begin with must be {request.size}, as announced.", param="beginning")
        made = int(request.steps * beginning.strength)
        if not made:
            fact = f"strength {beginning.strength:g} of {request.steps} steps is less than one step."
            raise RequestInvalid(fact, param="strength")
        mask = pictures[1][0, :, :, 0] >= 128 if beginning.masked else None
        return FirstPicture(pictures[0][0], mask, request.steps - made)

    def work(self, order: Order, claim: Claim) -> Work[Drawing]:
        """What the scheduler schedules; its spans will belong to the trace that is current here."""
        lora = any("denoiser" in file.roles for file, _ in order.loras)
        shape = Shape(
            bucket=Bucket(self.facts.latents.shape(order.size), lora),
            rows=1 if order.negative is None else 2,
            calls=self.tables[order.steps].calls - (order.first.call if order.first else 0),
            count=order.count,
            preview_steps=order.preview_steps,
            max_previews=order.max_previews,
            first=Stage.ENCODE if order.first is None else Stage.ENCODE_PICTURE,
        )
        return Work(Drawing(order), shape, claim, time.monotonic())

    def draw(self, order: Order) -> Generator[Event, None, None]:
        """Frames in their order, with the steps between them, then one Summary; closing it stops the work.

        Raises DrawingFailed when a frame becomes NaN or infinite, or the runtime gives up.
        """
        core = EngineCore(self)
        work = self.work(order, Claim(deadline=float("inf")))
        core.admit(work)
        try:
            while not core.idle:
                for turn in core.turn():
                    turn.trace()
                    yield from turn.events
                    if turn.error is not None:
                        raise turn.error
        finally:
            core.end(work)
            work.owner.close()

    def limit_rows(self, rows: int) -> None:
        """Batches have at most so many rows from now on, and exactly so many where their shape is fixed."""
        self.rows_per_batch = rows
        self.denoiser.fixed_rows = rows if self.fixed_batch else 0

    def warm_up(self) -> None:
        """Runs everything, since first runs allocate, and measures what it costs."""
        warm_up(self)

    def compute(self, batch: Batch[Drawing]) -> Results:
        """One turn's computing: what became of each task. Raises BackendFailed, having changed nothing."""
        first = batch.tasks[0]
        drawing = first.work.owner
        match batch.stage:
            case Stage.ENCODE | Stage.ENCODE_PICTURE:
                self._encode(drawing)
                return {first: None}
            case Stage.STEP:
                return self._step(batch)
            case Stage.PREVIEW:
                return {first: self._preview(drawing.groups[first.index])}
            case Stage.DECODE:
                group = drawing.groups[first.index]
                pixels = self.decoder.frame(group.latents, group.index)
                if drawing.order.first is not None:
                    pixels = drawing.order.first.outside(pixels)
                return {first: Frame(group.index, group.seed, pixels)}

    def release(self, drawing: Drawing) -> None:
        """Its LoRAs may make room for others; what encoded it once takes some again."""
        if drawing.lora is not None and self.banks is not None:
            self.banks.release(drawing.lora)
            drawing.lora = None

    def groups(self, drawing: Drawing) -> list[Group]:
        """The order's pictures before their first step."""
        order, lora = drawing.order, drawing.lora
        scale = order.guidance_scale
        positive = self.conditioner.conditioning(order.positive, order.size, lora, scale)
        negative = None
        if order.negative is not None:
            negative = self.conditioner.conditioning(order.negative, order.size, lora, scale)
        table, first = self.tables[order.steps], None
        if order.first is not None and self.encoder is not None:
            table, first = table.starting_at(order.first.call), self.encoder.first(order.first)
        return [
            Group(
                index=index,
                seed=seed_of(order.seed, index),
                table=table,
                guidance_scale=scale,
                positive=positive,
                negative=negative,
                latent_shape=self.facts.latents.shape(order.size),
                lora=_in_denoiser(lora),
                first=first,
            )
            for index in range(order.count)
        ]

    def blank(self, size: Size, count: int = 1) -> Order:
        """An order of guided pictures of nothing, to warm up and to measure with."""
        ids = self.conditioner.ids("")
        negative = None if self.facts.embeds_guidance else ids
        return Order(ids, negative, size, steps=1, guidance_scale=2.0, seed=0, count=count)

    def _encode(self, drawing: Drawing) -> None:
        if drawing.order.loras and drawing.lora is None and self.banks is not None:
            drawing.lora = self.banks.acquire(drawing.order.loras)
        if drawing.groups:  # it was interrupted
            for group in drawing.groups:
                group.lora = _in_denoiser(drawing.lora)
        else:
            drawing.groups = self.groups(drawing)

    def _step(self, batch: Batch[Drawing]) -> Results:
        groups = {task: task.work.owner.groups[task.index] for task in batch.tasks}
        previewed = [group for task, group in groups.items() if task.preview_is_due]
        failed = self.denoiser.step(list(groups.values()), previewed)
        results: Results = {}
        for task, group in groups.items():
            step = Step(group.call, group.table.calls, task.work.owner.finished)
            results[task] = failed.get(group, step)
        return results

    def _preview(self, group: Group) -> PreviewFrame:
        assert self.preview is not None and group.clean is not None  # noqa: S101, PT018 - `order` refused it otherwise
        pixels = self.preview.picture(group.clean)
        group.clean = None
        return PreviewFrame(group.index, group.call, group.table.calls, pixels)


def _in_denoiser(lora: LoraRow | None) -> LoraRow | None:
    """None where the plain graph draws the same."""
    return lora if lora is not None and lora.key("denoiser") else None


def _load(bundle: Bundle, backend: Backend, role: str) -> Session:
    graph = bundle.graph(role, half=computes_in_half(backend))
    return backend.load(graph, rowwise=role.startswith("denoiser"), key=bundle.part_digest(role))
