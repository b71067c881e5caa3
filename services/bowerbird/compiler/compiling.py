"""`bowerbird compile`: from a diffusers folder to a bundle, step by step.

`commands` and the training's last stage call `compile_checkpoint`. It promises: the bundle computes what the checkpoint
computes (parity.py, pictures.py), is complete or absent (writing.py), and what did not change is not exported again
(export.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bowerbird.compiler.animate_diff import join_motion
from bowerbird.compiler.checkpoint import Checkpoint, CheckpointUnsupported
from bowerbird.compiler.export import ExportCache
from bowerbird.compiler.families import PREVIEW, Family, family_of
from bowerbird.compiler.graphs import Component, Graphs, Report
from bowerbird.compiler.loading import hollow_component, load_component, load_scheduler
from bowerbird.compiler.measuring import Measured, measure
from bowerbird.compiler.parts import DECODER, ENCODER, parts_of, with_free_size
from bowerbird.compiler.pictures import Pipeline, Pixels, Theirs, compare_pictures, seconds_of_pictures
from bowerbird.compiler.previews import fit_preview
from bowerbird.compiler.resizing import derive_resizes
from bowerbird.compiler.sampler_tables import derive_tables
from bowerbird.compiler.stable_video import FEATURE_EXTRACTOR, refuse_other_times
from bowerbird.compiler.tensor_file import write_tensors
from bowerbird.compiler.tokenizing import read_tokenizers
from bowerbird.compiler.video_pictures import VideoPipeline
from bowerbird.compiler.writing import Staging, now
from bowerbird.contracts import MAX_STEPS, Size
from bowerbird.engine.backends.cpu import CpuBackend
from bowerbird.engine.bundle import MOTION, RESIZES, SAMPLERS, Bundle, DrawingFacts, Manifest, Precision
from bowerbird.engine.parity import PictureParity

COMPILED_WITH = ("torch", "diffusers", "transformers", "onnx", "onnxruntime")
MAX_PICTURES_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Identity:
    """What the bundle is called, under which licence it may be used, and what it does when nothing is asked.

    None leaves steps and guidance to the checkpoint's family.
    """

    name: str
    version: str
    licence: str
    default_steps: int | None = None
    default_guidance_scale: float | None = None


@dataclass(frozen=True, slots=True)
class Options:
    """What of a checkpoint is compiled, and how.

    `sizes`: empty takes the checkpoint's own. `sampler`: another scheduler class for the same config. `preview`: the
    folder of an AutoencoderTiny, else the checkpoint's `preview_vae`. `motion_adapter`: that of a MotionAdapter, else
    the checkpoint's. `tiny_decoder` draws every picture with the tiny one, not only previews. `thorough` compares every
    size and whole pictures, however long it takes. `half` adds graphs that compute in fp16 (`halving`); it wants
    precision fp16.
    """

    sizes: tuple[Size, ...] = ()
    precision: Precision = "fp16"
    sampler: str | None = None
    preview: Path | None = None
    motion_adapter: Path | None = None
    tiny_decoder: bool = False
    lora: bool = True
    thorough: bool = False
    half: bool = False
    max_steps: int = MAX_STEPS


@dataclass(frozen=True, slots=True)
class Compilation:
    """One checkpoint being compiled: what was asked, what it is, and who hears of it (`report`, in words).

    Raises CheckpointUnsupported when the checkpoint is of no family that can be compiled.
    """

    checkpoint: Checkpoint
    cache: ExportCache
    report: Report
    options: Options = Options()
    family: Family = field(init=False)
    scheduler: Any = field(init=False)

    def __post_init__(self) -> None:
        self.checkpoint.add(PREVIEW, self.options.preview)
        join_motion(self.checkpoint, self.options.motion_adapter)
        object.__setattr__(self, "family", family_of(self.checkpoint))
        object.__setattr__(self, "scheduler", load_scheduler(self.checkpoint, self.options.sampler))
        if not self.family.reads_prompts:
            refuse_other_times(self.scheduler)


def compile_checkpoint(compilation: Compilation, target: Path, identity: Identity) -> Bundle:
    """Writes the bundle and opens it.

    Raises CheckpointUnsupported (a class, tokenizer or scheduler that cannot be compiled), BundleDiffers (the parity
    gate) or TargetOccupied; then nothing is written.
    """
    checkpoint, options, report = compilation.checkpoint, compilation.options, compilation.report
    staging = Staging(target)
    try:
        report(f"a checkpoint of {compilation.family.name}")
        components = list(_components(compilation))
        measured = measure(checkpoint, compilation.family, options.sizes)
        tokenizers = read_tokenizers(checkpoint, compilation.family, staging.folder)
        _write_tables(compilation, staging.folder)
        if not compilation.family.reads_prompts:
            write_tensors(staging.folder / RESIZES, derive_resizes(measured.sizes, measured.shapes[0].image_size))
        graphs = Graphs(measured.shapes, options.precision, compilation.cache, report, options.thorough, options.half)
        for component in components:
            graphs.export(component)
        graphs.weigh(components, staging.folder)
        manifest = Manifest(
            format="bowerbird-bundle-2",
            name=identity.name,
            version=identity.version,
            licence=identity.licence,
            created=now(),
            lineage=checkpoint.lineage,
            files=staging.facts(),
            parts=graphs.facts(),
            configs=_configs(compilation),
            precision=options.precision,
            tokenizer=tokenizers[0] if tokenizers else None,
            tokenizer_2=tokenizers[1] if len(tokenizers) > 1 else None,
            lora=graphs.lora,
            drawing=_drawing_facts(compilation, identity, measured, staging.folder),
            parity=graphs.compare(staging.folder, CpuBackend()),
            half_parity=graphs.half_parity,
            compiled_with={name: version(name) for name in COMPILED_WITH},
        )
        parity, drawn = _compare_pictures(compilation, Bundle(staging.folder, manifest, ""), graphs)
        known: dict[str, Any] = {"picture_parity": parity}
        if drawn:
            known["drawing"] = _drawing_facts(compilation, identity, measured, staging.folder, drawn)
        report("sealing")
        return staging.seal(manifest.model_copy(update=known))
    finally:
        staging.discard()


def _components(compilation: Compilation) -> list[Component]:
    """Every component with the parts it becomes; raises CheckpointUnsupported before anything long is begun."""
    checkpoint, family, options = compilation.checkpoint, compilation.family, compilation.options
    if options.tiny_decoder and not checkpoint.has(PREVIEW):
        raise CheckpointUnsupported("A tiny decoder was asked for; --preview names the folder of an AutoencoderTiny.")
    if options.tiny_decoder and family.motion is not None and family.motion.decoded_together > 1:
        raise CheckpointUnsupported("A tiny decoder was asked for, but these clips are decoded some frames together.")
    found = []
    for name in (*family.components, *([PREVIEW] if checkpoint.has(PREVIEW) else [])):
        parts, config = parts_of(checkpoint, family, name), checkpoint.config(name)
        if options.tiny_decoder:
            parts = {"vae": (ENCODER,), PREVIEW: (DECODER,)}.get(name, parts)
        if len(options.sizes) > 1:
            parts = tuple(with_free_size(part) for part in parts)
        found.append(
            Component(
                name=name,
                model_class=checkpoint.class_of(name),
                config=config,
                parts=parts,
                hollow=partial(hollow_component, checkpoint, name),
                load=partial(load_component, checkpoint, name),
                takes_loras=options.lora and family.motion is None and name in (*family.text_encoders, "unet"),
                # diffusers asks this of Stable Diffusion XL's autoencoders only, and takes no answer for yes.
                overflows=name == "vae" and family.size_conditioned and bool(config.get("force_upcast", True)),
            )
        )
    return found


def _write_tables(compilation: Compilation, folder: Path) -> None:
    scheduler, options = compilation.scheduler, compilation.options
    compilation.report(f"{type(scheduler).__name__}: tables for 1-{options.max_steps} steps")

    def derive() -> str:
        tables = derive_tables(scheduler, options.max_steps)
        rows = [f'"{steps}": {record.model_dump_json()}' for steps, record in tables.items()]
        return "{\n" + ",\n".join(rows) + "\n}\n"

    facts = {"class": type(scheduler).__name__, "config": dict(scheduler.config), "steps": options.max_steps}
    text = compilation.cache.text(("sampler_tables", "scheduling"), facts, derive)
    (folder / SAMPLERS).write_text(text)


def _drawing_facts(
    compilation: Compilation, identity: Identity, measured: Measured, folder: Path, drawn: Sequence[Pixels] = ()
) -> DrawingFacts:
    compilation.report(f"fitting the linear preview{' to what was drawn' if drawn else ''}")
    family = compilation.family
    encoder = CpuBackend().load(folder / "encoder.onnx")
    guidance_scale = identity.default_guidance_scale
    return DrawingFacts(
        sizes=list(measured.sizes),
        latents=measured.latents,
        sampler=type(compilation.scheduler).__name__,
        max_steps=compilation.options.max_steps,
        default_steps=identity.default_steps or family.default_steps,
        default_guidance_scale=family.default_guidance_scale if guidance_scale is None else guidance_scale,
        preview=fit_preview(encoder, measured.latents, measured.smallest, drawn),
        size_conditioned=family.size_conditioned,
        zero_empty_negative=family.zero_empty_negative,
        embeds_guidance=family.embeds_guidance,
        motion=family.motion,
    )


def _configs(compilation: Compilation) -> dict[str, dict[str, Any]]:
    checkpoint, family = compilation.checkpoint, compilation.family
    names = [*family.components, *([PREVIEW] if checkpoint.has(PREVIEW) else [])]
    if not family.reads_prompts:
        names.append(FEATURE_EXTRACTOR)
    scheduler = {key: value for key, value in compilation.scheduler.config.items() if not key.startswith("_use_")}
    return {**{name: checkpoint.config(name) for name in names}, "scheduler": scheduler}


def _compare_pictures(
    compilation: Compilation, bundle: Bundle, graphs: Graphs
) -> tuple[PictureParity | None, list[Pixels]]:
    """The figures and the pictures; nothing, and a word about it, where it would take too long."""
    facts, options = bundle.drawing, compilation.options
    seconds = seconds_of_pictures(facts, graphs.seconds_per_row[MOTION if facts.motion else "denoiser"])
    if seconds > MAX_PICTURES_SECONDS and not options.thorough:
        compilation.report(f"whole pictures: not compared, about {seconds / 60:.0f} minutes (--full does)")
        return None, []
    compilation.report("comparing whole pictures with diffusers")
    return compare_pictures(bundle, CpuBackend(), _theirs(compilation, facts))


def _theirs(compilation: Compilation, facts: DrawingFacts) -> Theirs:
    checkpoint, family = compilation.checkpoint, compilation.family
    if not family.reads_prompts:
        return VideoPipeline(checkpoint, facts)
    return Pipeline(checkpoint, family, facts, PREVIEW if compilation.options.tiny_decoder else "vae")
