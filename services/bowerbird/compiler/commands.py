"""`bowerbird compile`, `prepare`, `restore`, `inspect` and `verify`, mounted by `bowerbird.cli`.

Torch is imported when a command needs it, not when help is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from bowerbird.compiler import options as option
from bowerbird.compiler.checkpoint import Checkpoint, CheckpointUnsupported
from bowerbird.compiler.describing import describe
from bowerbird.compiler.options import CACHE, BackendOption, PrecisionOption
from bowerbird.compiler.writing import TargetOccupied
from bowerbird.contracts import Size
from bowerbird.engine.bundle import Bundle
from bowerbird.errors import BackendMissing, BundleInvalid

if TYPE_CHECKING:
    from bowerbird.compiler.compiling import Identity, Options

app = typer.Typer(help="Make bundles from diffusers folders, and look into them.", no_args_is_help=True)
console = Console(stderr=True)

IDENTITY = ("name", "version", "licence", "default_steps", "default_guidance_scale")
BundlePath = Annotated[Path, typer.Argument(help="a bundle's folder")]


@app.command("compile")
def compile_command(  # noqa: PLR0913, PLR0917 - one parameter per option of the command line
    checkpoint: option.CheckpointPath,
    to: option.Target,
    size: option.Sizes = None,
    precision: option.Precision = PrecisionOption.fp16,
    sampler: option.Sampler = None,
    preview: option.Preview = None,
    motion_adapter: option.MotionAdapter = None,
    tiny_decoder: option.TinyDecoder = False,
    lora: option.Lora = True,
    backend: option.Backends = None,
    half: option.Half = None,
    full: option.Full = False,
    name: option.Name = None,
    version: option.Version = None,
    licence: option.Licence = None,
    steps: option.Steps = None,
    guidance_scale: option.GuidanceScale = None,
    cache: option.Cache = CACHE,
) -> None:
    """Compile a checkpoint to a bundle that is served without torch.

    Stable Diffusion 1.x, 2.x, XL, their Turbos, LCM-distilled ones, AnimateDiff, and Stable Video Diffusion, as
    diffusers saves them:

        bowerbird compile ./sdxl-turbo --to ./bundles/sdxl-turbo --size 512x512 --size 768x512

    Every part is compared with the original, then whole pictures where that takes less than five minutes; a bundle that
    differs is not written. Interrupted, it goes on where it was: what is exported is kept by content.

    A laptop compiles for a GPU that it has not: the bundle is the same, and what is left to do there is said.
    """
    from bowerbird.compiler import preparing
    from bowerbird.compiler.compiling import Options
    from bowerbird.compiler.parity import BundleDiffers

    sizes = tuple(map(_size, size or []))
    in_half = _in_half(half, precision, backend or [])
    options = Options(
        sizes, precision.value, sampler, preview, motion_adapter, tiny_decoder, lora, thorough=full, half=in_half
    )
    identity = dict(zip(IDENTITY, (name, version, licence, steps, guidance_scale), strict=True))
    with _reporting("Not compiled.", BundleDiffers, CheckpointUnsupported, TargetOccupied) as report:
        backends, left = preparing.open_backends([each.value for each in backend or []], required=False)
        for words in left:
            report(words)
        bundle = _compiled(checkpoint, to, _Wishes(options, identity, cache), report)
        preparing.prepare(bundle, backends, report)
    console.print(describe(bundle))
    for words in left:
        console.print(f"[yellow]Not prepared.[/yellow] {words}")


@app.command("prepare")
def prepare_command(
    bundle: BundlePath,
    backend: Annotated[list[BackendOption], typer.Option(help="a runtime of this machine, again for each")],
) -> None:
    """Make ahead, on the machine that serves, what a runtime keeps for a bundle; TensorRT's engines take minutes.

    It goes to BOWERBIRD_CACHE, which the services read. No torch is needed.
    """
    from bowerbird.compiler import preparing

    opened = _opened(bundle)
    with _reporting("Not prepared.") as report:
        backends, _ = preparing.open_backends([each.value for each in backend])
        preparing.prepare(opened, backends, report)


def _in_half(asked: bool | None, precision: PrecisionOption, backends: Sequence[BackendOption]) -> bool:
    """Whether graphs are added that compute in fp16: as asked, else where `cuda` will run weights of fp16."""
    kept_in_half = precision is PrecisionOption.fp16
    if asked and not kept_in_half:
        raise typer.BadParameter("What is computed in fp16 is kept in fp16.", param_hint="--half")
    return BackendOption.cuda in backends and kept_in_half if asked is None else asked


@dataclass(frozen=True, slots=True)
class _Wishes:
    """What the command line says: how to compile, what to call the result, where exports are kept."""

    options: Options
    identity: dict[str, Any]
    cache: Path


@contextmanager
def _reporting(failure: str, *more: type[Exception]) -> Iterator[Callable[[str], None]]:
    """A `report` whose words are shown as they come; a fact against the bundle ends the command in one sentence."""
    facts: tuple[type[Exception], ...] = (BackendMissing, BundleInvalid, *more)
    try:
        with console.status("") as status:

            def report(words: str) -> None:
                status.update(words)
                console.print(f"  {words}")

            yield report
    except facts as error:
        console.print(f"[red]{failure}[/red] {error}")
        raise typer.Exit(1) from error


def _compiled(checkpoint: Path, to: Path, wishes: _Wishes, report: Callable[[str], None]) -> Bundle:
    """A judge's bundle, or one that draws."""
    from bowerbird.compiler.compiling import Compilation, compile_checkpoint
    from bowerbird.compiler.export import ExportCache
    from bowerbird.compiler.judging import compile_judge, is_judge

    cache = ExportCache(wishes.cache)
    if is_judge(checkpoint):
        identity = _identity(f"{checkpoint.resolve().parent.name}-judge", {}, wishes.identity)
        return compile_judge(checkpoint, to, identity, cache, report)
    source = Checkpoint(checkpoint)
    identity = _identity(checkpoint.resolve().name, {**source.lineage, **source.facts}, wishes.identity)
    return compile_checkpoint(Compilation(source, cache, report, wishes.options), to, identity)


def _size(words: str) -> Size:
    try:
        width, height = words.lower().split("x")
        return Size(width=int(width), height=int(height))
    except ValueError as error:
        raise typer.BadParameter(f"{words} is no size; 512x512 is one.", param_hint="--size") from error


def _identity(folder_name: str, stated: dict[str, Any], given: dict[str, Any]) -> Identity:
    """What the command line says, else what the checkpoint says, else what can be said of any."""
    from bowerbird.compiler.compiling import Identity

    facts: dict[str, Any] = {
        "name": folder_name,
        "version": "1",
        "licence": "LicenseRef-unknown",
        "default_steps": None,
        "default_guidance_scale": None,
    }
    facts |= {key: stated[key] for key in facts if key in stated}
    facts |= {key: value for key, value in given.items() if value is not None}
    steps, guidance_scale = facts["default_steps"], facts["default_guidance_scale"]
    return Identity(
        name=str(facts["name"]),
        version=str(facts["version"]),
        licence=str(facts["licence"]),
        default_steps=None if steps is None else int(steps),
        default_guidance_scale=None if guidance_scale is None else float(guidance_scale),
    )


@app.command("restore")
def restore_command(bundle: BundlePath, to: Annotated[Path, typer.Option(help="a new diffusers folder")]) -> None:
    """Make a diffusers folder from a bundle again, for instance to train on."""
    from bowerbird.compiler.restore import restore

    opened = _opened(bundle)
    try:
        restore(opened, to)
    except FileExistsError as error:
        console.print(f"[red]Not restored.[/red] {to} exists.")
        raise typer.Exit(1) from error
    console.print(f"{to} loads with diffusers (weights are {opened.manifest.precision}).")


@app.command("inspect")
def inspect_command(bundle: BundlePath) -> None:
    """Show what a bundle is: what it draws and how, how near to the original it is, size, licence, digest."""
    console.print(describe(_opened(bundle)))


@app.command("verify")
def verify_command(bundle: BundlePath) -> None:
    """Compare every file of a bundle with its digest; prints the bundle's own."""
    opened = _opened(bundle)
    print(f"{opened.digest}  {bundle}")  # stdout, in the form of sha256sum


def _opened(folder: Path) -> Bundle:
    try:
        return Bundle.open(folder)
    except BundleInvalid as error:
        console.print(f"[red]Not a sound bundle.[/red] {error}")
        raise typer.Exit(1) from error
