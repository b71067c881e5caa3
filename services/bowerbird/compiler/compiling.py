"""`bowerbird compile`: from a diffusers folder to a bundle, step by step.

`commands` and the training's last stage call `compile_checkpoint`. It promises: the bundle computes what the checkpoint
computes (parity.py), is complete or absent (writing.py), and a part whose inputs did not change is not exported again
(export.py).
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from bowerbird.compiler.checkpoint import Checkpoint, CheckpointUnsupported
from bowerbird.compiler.export import ExportCache
from bowerbird.compiler.graphs import Component, Graphs, Report
from bowerbird.compiler.parity import Pipeline, compare_pictures
from bowerbird.compiler.parts import COMPONENTS, Shapes, parts_of
from bowerbird.compiler.sampler_tables import derive_tables
from bowerbird.compiler.tokenizing import read_tokenizer
from bowerbird.compiler.writing import Staging, now
from bowerbird.contracts import MAX_STEPS, Size
from bowerbird.engine.bundle import SAMPLERS, TOKENIZER, Bundle, DrawingFacts, LatentFacts, Manifest
from bowerbird.engine.cpu import CpuBackend
from bowerbird.engine.drawing import Engine

COMPILED_WITH = ("torch", "diffusers", "transformers", "onnx", "onnxruntime")


@dataclass(frozen=True, slots=True)
class Identity:
    """What the bundle is called, under which licence it may be used, and what it does when nothing is asked."""

    name: str
    version: str
    licence: str
    default_steps: int
    default_guidance_scale: float


def compile_checkpoint(
    checkpoint: Checkpoint, target: Path, identity: Identity, cache: ExportCache, report: Report
) -> Bundle:
    """Writes the bundle and opens it; `report` hears what is being done, in words.

    Raises CheckpointUnsupported (a class, tokenizer or scheduler that cannot be compiled), BundleDiffers (the parity
    gate) or TargetOccupied; then nothing is written.
    """
    staging = Staging(target)
    try:
        report("reading the checkpoint")
        parts = {name: parts_of(checkpoint, name) for name in COMPONENTS}
        tokenizer, tokenizer_facts = read_tokenizer(checkpoint)
        (staging.folder / TOKENIZER).write_bytes(tokenizer)
        shapes, drawing = _measure(checkpoint, identity, tokenizer_facts.length)
        report(f"deriving {drawing.sampler} tables for 1-{drawing.max_steps} steps")
        (staging.folder / SAMPLERS).write_bytes(_sampler_tables(checkpoint, drawing.max_steps))
        graphs = Graphs(shapes, cache, report)
        for name in COMPONENTS:
            graphs.add(_component(checkpoint, name), parts[name])
        graphs.write(staging.folder)
        manifest = Manifest(
            format="bowerbird-bundle-1",
            name=identity.name,
            version=identity.version,
            licence=identity.licence,
            created=now(),
            lineage=checkpoint.lineage,
            files=staging.facts(),
            parts=graphs.facts(),
            configs={name: checkpoint.config(name) for name in (*COMPONENTS, "scheduler")},
            tokenizer=tokenizer_facts,
            drawing=drawing,
            parity=graphs.compare(staging.folder),
            compiled_with={name: version(name) for name in COMPILED_WITH},
        )
        report("comparing whole pictures with diffusers")
        engine = Engine(Bundle(staging.folder, manifest, ""), CpuBackend())
        pictures = compare_pictures(engine, _pipeline(checkpoint, drawing))
        report("sealing")
        return staging.seal(manifest.model_copy(update={"picture_parity": pictures}))
    finally:
        staging.discard()


def load_component(checkpoint: Checkpoint, name: str) -> Any:
    """A component with diffusers' or transformers' own class, fp32, ready to be asked."""
    library = checkpoint.index[name][0]
    if library not in {"diffusers", "transformers"}:
        raise CheckpointUnsupported(f"{name} comes from {library}, which this compiler does not load.")
    model_class = getattr(importlib.import_module(library), checkpoint.class_of(name))
    return model_class.from_pretrained(checkpoint.folder / name, torch_dtype=torch.float32).eval()


def _component(checkpoint: Checkpoint, name: str) -> Component:
    return Component(name, checkpoint.class_of(name), checkpoint.digest(name), load_component(checkpoint, name))


def _measure(checkpoint: Checkpoint, identity: Identity, tokens: int) -> tuple[Shapes, DrawingFacts]:
    """Shapes and drawing facts; the autoencoder itself says how much smaller its latents are."""
    unet, vae, text = (checkpoint.config(name) for name in ("unet", "vae", "text_encoder"))
    channels, side = int(unet["in_channels"]), int(unet["sample_size"])
    with torch.inference_mode():
        decoded = load_component(checkpoint, "vae").decode(torch.zeros(1, channels, 8, 8), return_dict=False)[0]
    downscale = decoded.shape[-1] // 8
    shapes = Shapes(tokens, int(text["vocab_size"]), int(text["hidden_size"]), channels, side, side, downscale)
    facts = DrawingFacts(
        sizes=[Size(width=side * downscale, height=side * downscale)],
        latents=LatentFacts(
            channels=channels,
            downscale=downscale,
            scaling_factor=float(vae.get("scaling_factor") or 1.0),
            shift_factor=float(vae.get("shift_factor") or 0.0),
        ),
        sampler=checkpoint.class_of("scheduler"),
        max_steps=MAX_STEPS,
        default_steps=identity.default_steps,
        default_guidance_scale=identity.default_guidance_scale,
    )
    return shapes, facts


def _sampler_tables(checkpoint: Checkpoint, max_steps: int) -> bytes:
    scheduler_class = getattr(importlib.import_module("diffusers"), checkpoint.class_of("scheduler"))
    tables = derive_tables(scheduler_class, checkpoint.config("scheduler"), max_steps)
    rows = [f'"{steps}": {record.model_dump_json()}' for steps, record in tables.items()]
    return ("{\n" + ",\n".join(rows) + "\n}\n").encode()


def _pipeline(checkpoint: Checkpoint, drawing: DrawingFacts) -> Pipeline:
    size, latents = drawing.sizes[0], drawing.latents
    scheduler_class = getattr(importlib.import_module("diffusers"), drawing.sampler)
    return Pipeline(
        text_encoder=load_component(checkpoint, "text_encoder"),
        unet=load_component(checkpoint, "unet"),
        vae=load_component(checkpoint, "vae"),
        scheduler=scheduler_class.from_config(checkpoint.config("scheduler")),
        latent_shape=(latents.channels, size.height // latents.downscale, size.width // latents.downscale),
        shift_factor=latents.shift_factor,
    )
