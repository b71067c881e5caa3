"""Drawing: a bundle, loaded, and the four things it computes.

`order` and `animate` check a request before anything is computed (`ordering`). `work` makes of it what the scheduler
schedules; then, in turns that `core` gives out,

    encode    the prompts as conditioning, and the picture that it begins with, once, and the LoRAs in their slots
    step      one denoiser call for groups of any requests
    preview   what a group will be
    decode    latents as pixels

`draw` does all that for one order, alone and without threads: the compiler's gate and `bowerbird train quality` use it,
a service uses `executor`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from bowerbird.contracts import AnimateRequest, DrawRequest, Size, seed_of
from bowerbird.engine import ordering
from bowerbird.engine.backend import Backend, Session, computes_in_half
from bowerbird.engine.bundle import MOTION, SAMPLERS, Bundle, is_denoiser
from bowerbird.engine.core import EngineCore
from bowerbird.engine.lora.banks import LoraBanks, LoraRow
from bowerbird.engine.lora.shelf import LoraShelf
from bowerbird.engine.model.clip import ClipGroup
from bowerbird.engine.model.conditioning import Conditioner, Conditioning
from bowerbird.engine.model.decoder import decoder_of
from bowerbird.engine.model.denoiser import Denoiser, Group
from bowerbird.engine.model.encoder import Encoder
from bowerbird.engine.model.image_conditioning import ImageConditioner
from bowerbird.engine.model.preview import ROLE as PREVIEW_ROLE
from bowerbird.engine.model.preview import Preview
from bowerbird.engine.model.sampler import read_sampler_tables
from bowerbird.engine.order import Event, Frame, Order, PreviewFrame, Step, Summary
from bowerbird.engine.progress import Drawing
from bowerbird.engine.scheduling.costs import CostTable
from bowerbird.engine.scheduling.work import Batch, Bucket, Claim, Shape, Stage, Task, Work
from bowerbird.engine.warm_up import warm_up
from bowerbird.errors import BundleInvalid, DrawingFailed
from bowerbird.frames import Frames

__all__ = ["Engine", "Event", "Frame", "Order", "PreviewFrame", "Step", "Summary"]

Results = dict[Task[Drawing], tuple[Event, ...] | DrawingFailed]
"""What a piece of each task came to."""


class Engine:
    """A bundle that draws pictures, or clips, or both, loaded."""

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
        self._backend = backend
        self.tables = read_sampler_tables(bundle.path(SAMPLERS))
        if set(self.tables) != set(range(1, self.facts.max_steps + 1)):
            raise BundleInvalid(
                f"{bundle.path(SAMPLERS)} does not hold a table for each of 1-{self.facts.max_steps} steps."
            )
        self.shelf = LoraShelf(loras, bundle)
        takes_loras = loras is not None and "denoiser" in bundle.manifest.lora
        self.banks = LoraBanks(bundle, backend, lora_slots, fixed=fixed_batch) if takes_loras else None
        self.conditioner = Conditioner(bundle, backend, self.banks)
        self.motion = self.facts.motion if MOTION in bundle.manifest.parts else None
        self.draws_pictures = "denoiser" in bundle.manifest.parts
        if self.motion is None and not self.draws_pictures:
            raise BundleInvalid(f"{bundle.folder} has neither a denoiser nor a {MOTION} with facts about its clips.")
        self.denoiser = Denoiser(
            _load(bundle, backend, "denoiser") if self.draws_pictures else None,
            (_load(bundle, backend, "denoiser_lora"), self.banks) if self.banks else None,
            clips=_load(bundle, backend, MOTION) if self.motion else None,
        )
        self.decoder = decoder_of(bundle.part("decoder"))(_load(bundle, backend, "decoder"))
        self.encoder = Encoder(_load(bundle, backend, "encoder")) if "encoder" in bundle.manifest.parts else None
        self.image_conditioner = self._image_conditioner(backend)
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

    @property
    def usual_slots(self) -> int:
        """Twice what fills the largest batch that pays; a clip's pass is a batch."""
        return 2 * self.rows_per_batch if self.draws_pictures else 2

    def bucket(self, size: Size, *, lora: bool = False, clips: bool = False) -> Bucket:
        """Of steps of this size."""
        return Bucket(self.facts.latents.shape(size), lora, self.motion.window if clips and self.motion else 0)

    def order(self, request: DrawRequest, pictures: Sequence[Frames] = ()) -> Order:
        """The pictures that a request asks for, checked; see `ordering.pictures`."""
        return ordering.pictures(self, request, pictures)

    def animate(self, request: AnimateRequest, pictures: Sequence[Frames] = ()) -> Order:
        """The clips that a request asks for, checked; see `ordering.clips`."""
        return ordering.clips(self, request, pictures)

    def work(self, order: Order, claim: Claim) -> Work[Drawing]:
        """What the scheduler schedules; its spans will belong to the trace that is current here."""
        lora, clip = any("denoiser" in file.roles for file, _ in order.loras), order.clip
        shape = Shape(
            bucket=Bucket(self.facts.latents.shape(order.size), lora, clip.motion.window if clip else 0),
            rows=1 if order.negative is None else 2,
            calls=self.tables[order.steps].calls - (order.first.call if order.first else 0),
            count=order.count,
            passes=len(clip.windows) if clip else 1,
            decodes=clip.decodes if clip else 1,
            preview_steps=order.preview_steps,
            max_previews=order.max_previews,
            first=Stage.ENCODE if order.first is None and order.image is None else Stage.ENCODE_PICTURE,
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

    def adopt_thread(self) -> None:
        """The calling thread will compute, for good. See `Backend.adopt_thread`."""
        self._backend.adopt_thread()

    def interrupt(self) -> None:
        """Ends what is being computed, where that can be; for any thread. See `Backend.interrupt`."""
        self._backend.interrupt()

    def compute(self, batch: Batch[Drawing]) -> Results:
        """One turn's computing: what became of each task. Raises BackendFailed, having changed nothing."""
        first = batch.tasks[0]
        drawing = first.work.owner
        match batch.stage:
            case Stage.ENCODE | Stage.ENCODE_PICTURE:
                self._encode(drawing)
                return {first: ()}
            case Stage.STEP:
                return self._step(batch)
            case Stage.PREVIEW:
                return {first: (self._preview(drawing.groups[first.index]),)}
            case Stage.DECODE:
                return {first: self._decode(drawing, drawing.groups[first.index], first.part)}

    def release(self, drawing: Drawing) -> None:
        """Its LoRAs may make room for others; what encoded it once takes some again."""
        if drawing.lora is not None and self.banks is not None:
            self.banks.release(drawing.lora)
            drawing.lora = None

    def groups(self, drawing: Drawing) -> list[Group]:
        """The order's pictures or clips before their first step."""
        order, lora = drawing.order, drawing.lora
        seeds = [seed_of(order.seed, index) for index in range(order.count)]
        make: Callable[..., Group] = Group
        table, first = self.tables[order.steps], None
        if order.first is not None and self.encoder is not None:
            table, first = table.starting_at(order.first.call), self.encoder.first(order.first)
        if order.clip is not None:
            make, first = partial(ClipGroup, form=order.clip), first and first.of_clip(order.clip.held)
        told = self._told(order, lora, seeds)
        return [
            make(
                index=index,
                seed=seed,
                table=table,
                guidance_scale=order.guidance_scale,
                positive=positive,
                negative=negative if order.negative is not None else None,
                latent_shape=self.facts.latents.shape(order.size),
                lora=_in_denoiser(lora),
                first=first,
            )
            for index, (seed, (positive, negative)) in enumerate(zip(seeds, told, strict=True))
        ]

    def blank(self, size: Size, count: int = 1) -> Order:
        """An order of guided pictures of nothing, to warm up and to measure with."""
        ids = self.conditioner.ids("")
        negative = None if self.facts.embeds_guidance else ids
        image = None if self.facts.reads_prompts else np.zeros((size.height, size.width, 3), np.uint8)
        return Order(ids, negative, size, steps=1, guidance_scale=2.0, seed=0, count=count, image=image)

    def _image_conditioner(self, backend: Backend) -> ImageConditioner | None:
        """Of a bundle that reads no prompts."""
        if self.motion is None or self.motion.image is None:
            return None
        if self.encoder is None:
            raise BundleInvalid(f"{self.bundle.folder} tells its clips a picture, but has no encoder.")
        return ImageConditioner(self.bundle, backend, self.motion, self.encoder)

    def _told(
        self, order: Order, lora: LoraRow | None, seeds: Sequence[int]
    ) -> list[tuple[Conditioning, Conditioning | None]]:
        """What each group is led to, and away from: a prompt tells all the same, a picture each its own."""
        if order.image is not None and self.image_conditioner is not None:
            return [*self.image_conditioner.conditionings(order.image, seeds)]
        scale = order.guidance_scale
        positive = self.conditioner.conditioning(order.positive, order.size, lora, scale)
        negative = None
        if order.negative is not None:
            negative = self.conditioner.conditioning(order.negative, order.size, lora, scale)
        return [(positive, negative)] * len(seeds)

    def _encode(self, drawing: Drawing) -> None:
        if drawing.order.loras and drawing.lora is None and self.banks is not None:
            drawing.lora = self.banks.acquire(drawing.order.loras)
        if drawing.groups:  # it was interrupted
            for group in drawing.groups:
                group.lora = _in_denoiser(drawing.lora)
        else:
            drawing.groups = self.groups(drawing)

    def _step(self, batch: Batch[Drawing]) -> Results:
        """A Step for each group that ended one; a clip does after the last of its passes."""
        groups = {task: task.work.owner.groups[task.index] for task in batch.tasks}
        previewed = [group for task, group in groups.items() if task.preview_is_due]
        failed = self.denoiser.step(list(groups.values()), previewed)
        results: Results = {}
        for task, group in groups.items():
            step = Step(group.call, group.table.calls, task.work.owner.finished)
            results[task] = failed.get(group, (step,) if task.completes_step else ())
        return results

    def _preview(self, group: Group) -> PreviewFrame:
        assert self.preview is not None and group.clean is not None  # noqa: S101, PT018 - `ordering` refused it
        clean = group.clean[group.form.drawn // 2] if isinstance(group, ClipGroup) else group.clean
        pixels = self.preview.picture(clean)
        group.clean = None
        return PreviewFrame(group.index, group.call, group.table.calls, pixels)

    def _decode(self, drawing: Drawing, group: Group, part: int) -> tuple[Frame, ...]:
        if isinstance(group, ClipGroup):
            return self._decode_clip(group, part)
        pixels, first = self.decoder.frame(group.latents, group.index), drawing.order.first
        return (Frame(group.index, group.seed, pixels if first is None else first.outside(pixels)),)

    def _decode_clip(self, clip: ClipGroup, part: int) -> tuple[Frame, ...]:
        leaving, read = clip.form.chunk(part)
        before = clip.index * clip.form.frames
        decoded = self.decoder.frames([clip.form.frame(clip.latents, each) for each in read], before + read[0])
        new = decoded[leaving.start - read[0] :]
        return tuple(Frame(before + each, clip.seed, pixels) for each, pixels in zip(leaving, new, strict=False))


def _in_denoiser(lora: LoraRow | None) -> LoraRow | None:
    """None where the plain graph draws the same."""
    return lora if lora is not None and lora.key("denoiser") else None


def _load(bundle: Bundle, backend: Backend, role: str) -> Session:
    graph = bundle.graph(role, half=computes_in_half(backend))
    return backend.load(graph, rowwise=is_denoiser(role), key=bundle.part_digest(role))
