"""What a person wants to know of a bundle, as `bowerbird inspect` and the end of `bowerbird compile` print it.

What it is and may be used for, what it draws and from what, how near it is to the original, and what it weighs.
Torch-free.
"""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.table import Table

from bowerbird.engine.bundle import WEIGHTS, Bundle, DrawingFacts, Manifest


def describe(bundle: Bundle) -> RenderableType:
    """Facts line by line, then a table of the parts."""
    facts = Table.grid(padding=(0, 2))
    facts.add_column()
    facts.add_column(overflow="fold")  # a digest is read whole or it is none
    for name, value in _facts(bundle):
        facts.add_row(f"[bold]{name}[/bold]", value)
    return Group(facts, _parts(bundle.manifest))


def _facts(bundle: Bundle) -> Iterator[tuple[str, str]]:
    manifest = bundle.manifest
    yield "name", f"{manifest.name} {manifest.version}"
    yield "digest", bundle.digest
    yield "licence", manifest.licence
    megabytes = sum(each.bytes for each in manifest.files.values()) / 1e6
    yield "size", f"{megabytes:.1f} MB in {len(manifest.files)} files, weights in {manifest.precision}"
    if manifest.drawing is not None:
        yield from _drawing(manifest, manifest.drawing)
    if manifest.judging is not None:
        side = manifest.judging.image_size
        yield "judges", f"pictures of {side}x{side} and texts, {manifest.judging.embedding_dimension} dimensions"
    if manifest.picture_parity is not None:
        parity = manifest.picture_parity
        kind = "frames of a clip" if manifest.drawing is not None and manifest.drawing.motion else "whole pictures"
        yield "fidelity", f"{parity.psnr_db} dB PSNR over {parity.pictures} {kind} of {parity.steps} steps"
    elif manifest.drawing is not None:
        yield "fidelity", "part by part, see below; whole pictures were not compared (compile --full does)"
    yield "made with", ", ".join(f"{name} {version}" for name, version in manifest.compiled_with.items())


def _drawing(manifest: Manifest, drawing: DrawingFacts) -> Iterator[tuple[str, str]]:
    yield "draws", ", ".join(str(size) for size in drawing.sizes)
    if drawing.motion is not None:
        motion = drawing.motion
        shared = f" (neighbours share {motion.overlap})" if motion.max_frames > motion.window else ""
        yield (
            "clips",
            f"of at most {motion.max_frames} drawn frames, {motion.window} at a time{shared}; "
            f"{motion.frames_per_second:g} of them are a second",
        )
        if motion.image is not None:
            yield "begins", "with a picture, which is all that a clip is told; no prompt is read"
    guidance = "embedded" if drawing.embeds_guidance else "by a second row"
    yield (
        "when not asked",
        f"{drawing.default_steps} steps (of at most {drawing.max_steps}), guidance {drawing.default_guidance_scale:g} "
        f"({guidance})",
    )
    yield "sampler", drawing.sampler
    latents = drawing.latents
    yield "latents", f"{latents.channels} channels, {latents.downscale} times smaller"
    if manifest.tokenizer is not None:
        yield "prompts", f"at most {manifest.tokenizer.max_prompt_tokens} tokens"
    layers = {role: sum(len(bank.modules) for bank in banks) for role, banks in manifest.lora.items()}
    yield "LoRA", ", ".join(f"{count} layers of the {role}" for role, count in layers.items()) or "not compiled in"
    yield "previews", "tiny decoder" if "preview" in manifest.parts else "linear map"


def _parts(manifest: Manifest) -> Table:
    table = Table(caption_justify="left")
    for heading in ("part", "class", "difference from the original", f"cost of {manifest.precision}", "in fp16"):
        table.add_column(heading)
    for role, part in manifest.parts.items():
        facts, half = manifest.parity.get(role), manifest.half_parity.get(role)
        figures = (
            (f"{facts.max_abs_difference:.1e} of {facts.tolerance:.1e}", f"{facts.rounding_psnr_db:g} dB PSNR")
            if facts
            else ("not measured", "")
        )
        table.add_row(role, part.model_class, *figures, f"{half.psnr_db:g} dB PSNR" if half else "")
    if WEIGHTS in manifest.files:
        table.caption = f"weights {manifest.files[WEIGHTS].bytes / 1e6:.1f} MB"
    return table
