"""The models that are compared, made once and kept outside the tree: checkpoints, and bundles compiled from them.

No real weights can be had everywhere, and a step costs the same whatever the weights mean: SD 1.5's shape comes with
seeded random weights (`benchmarks.checkpoints`). fledgling is the model whose pictures mean something; its checkpoint
is restored from its bundle.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.engine.contender import environment_of
from benchmarks.engine.environments import CACHE, PeerMissing
from bowerbird.engine.bundle import Bundle, digest_of


@dataclass(frozen=True, slots=True)
class Model:
    """The same weights twice: for diffusers and for us."""

    name: str
    checkpoint: Path
    bundle: Path


def sd15() -> Model:
    """Stable Diffusion 1.5's shape at 512 x 512, without LoRA graphs, which nobody asks for here."""
    return shaped("SD 1.5-shaped", "sd15")


def shaped(name: str, shape: str) -> Model:
    """A checkpoint of `benchmarks.checkpoints.SHAPES` and its bundle, at the checkpoint's own size."""
    from benchmarks.checkpoints import SHAPES, write_checkpoint

    checkpoint, bundle = CACHE / "checkpoints" / shape, CACHE / "bundles" / shape
    if not checkpoint.exists():
        _whole(checkpoint, lambda folder: write_checkpoint(folder, SHAPES[shape]))
    _compile(checkpoint, bundle, "--no-lora")
    return Model(name, checkpoint, bundle)


def fledgling(bundle: Path) -> Model:
    """A bundle and the checkpoint that it came from."""
    from bowerbird.compiler.restore import restore

    checkpoint = CACHE / "checkpoints" / f"restored-{_digest(bundle)}"
    if not checkpoint.exists():
        _whole(checkpoint, lambda folder: restore(Bundle.open(bundle), folder))
    return Model("fledgling", checkpoint, bundle)


def two_sizes(model: Model) -> Path:
    """The model as a bundle that draws two sizes, the larger one its own, with LoRA graphs: what C6 asks for."""
    side = Bundle.open(model.bundle).drawing.sizes[0].width
    bundle = CACHE / "bundles" / f"two-sizes-{_digest(model.bundle)}"
    smaller = side * 3 // 4
    _compile(model.checkpoint, bundle, "--size", f"{side}x{side}", "--size", f"{smaller}x{smaller}")
    return bundle


def _compile(checkpoint: Path, bundle: Path, *options: str) -> None:
    """By the documented command; a bundle that opens is kept."""
    if (bundle / "bundle.json").exists():
        return
    print(f"compiling {checkpoint.name} into {bundle} (once, minutes)", file=sys.stderr)
    bundle.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "bowerbird.cli", "compile", str(checkpoint), "--to", str(bundle), *options]
    done = subprocess.run(command, env=environment_of(), capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        words = (done.stderr.strip().splitlines() or ["it failed"])[-1]
        raise PeerMissing(f"bowerbird compile {checkpoint.name}: {words[:200]}")


def _whole(folder: Path, write: object) -> None:
    """Writes beside and renames, so that what is there is complete."""
    beside = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(beside, ignore_errors=True)
    beside.parent.mkdir(parents=True, exist_ok=True)
    write(beside)  # type: ignore[operator]
    beside.rename(folder)


def _digest(bundle: Path) -> str:
    return digest_of(bundle / "bundle.json").removeprefix("sha256:")[:12]
