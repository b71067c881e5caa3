"""`bowerbird compile`, `restore`, `inspect` and `verify`, mounted by `bowerbird.cli`.

Torch is imported when a command needs it, not when help is asked for.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from bowerbird.compiler.checkpoint import Checkpoint, CheckpointUnsupported
from bowerbird.compiler.writing import TargetOccupied
from bowerbird.engine.bundle import Bundle
from bowerbird.errors import BundleInvalid

if TYPE_CHECKING:
    from bowerbird.compiler.compiling import Identity

app = typer.Typer(help="Make bundles from diffusers folders, and look into them.", no_args_is_help=True)
console = Console(stderr=True)

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bowerbird" / "exports"

BundlePath = Annotated[Path, typer.Argument(help="a bundle's folder")]


@app.command("compile")
def compile_command(  # noqa: PLR0913, PLR0917 - one parameter per option of the command line
    checkpoint: Annotated[Path, typer.Argument(help="a diffusers folder, or the judge/ folder of a trained fledgling")],
    to: Annotated[Path, typer.Option(help="folder of the bundle; a bundle already there is replaced")],
    name: Annotated[str | None, typer.Option(help="default: the checkpoint's, else its folder's")] = None,
    version: Annotated[str | None, typer.Option(help="default: the checkpoint's, else 1")] = None,
    licence: Annotated[str | None, typer.Option(help="SPDX expression; default: the checkpoint's")] = None,
    steps: Annotated[int | None, typer.Option(min=1, max=50, help="default steps of a picture")] = None,
    guidance_scale: Annotated[float | None, typer.Option(min=1, help="default guidance")] = None,
    cache: Annotated[Path, typer.Option(help="exported graphs by content")] = CACHE,
) -> None:
    """Compile a checkpoint to a bundle that is served without torch.

    Every part is compared with the original, then whole pictures; a bundle that differs is not written.
    """
    from bowerbird.compiler.compiling import compile_checkpoint
    from bowerbird.compiler.export import ExportCache
    from bowerbird.compiler.judging import compile_judge, is_judge
    from bowerbird.compiler.parity import BundleDiffers

    given = {
        "name": name,
        "version": version,
        "licence": licence,
        "default_steps": steps,
        "default_guidance_scale": guidance_scale,
    }
    try:
        with console.status("") as status:

            def report(words: str) -> None:
                status.update(words)
                console.print(f"  {words}")

            if is_judge(checkpoint):
                identity = _identity(f"{checkpoint.resolve().parent.name}-judge", {}, given)
                bundle = compile_judge(checkpoint, to, identity, ExportCache(cache), report)
            else:
                source = Checkpoint(checkpoint)
                stated = {**source.lineage, **source.facts}
                identity = _identity(checkpoint.resolve().name, stated, given)
                bundle = compile_checkpoint(source, to, identity, ExportCache(cache), report)
    except (BundleDiffers, BundleInvalid, CheckpointUnsupported, TargetOccupied) as error:
        console.print(f"[red]Not compiled.[/red] {error}")
        raise typer.Exit(1) from error
    console.print(_summary(bundle))


def _identity(folder_name: str, stated: dict[str, Any], given: dict[str, Any]) -> Identity:
    """What the command line says, else what the checkpoint says, else what can be said of any."""
    from bowerbird.compiler.compiling import Identity

    facts: dict[str, Any] = {
        "name": folder_name,
        "version": "1",
        "licence": "LicenseRef-unknown",
        "default_steps": 20,
        "default_guidance_scale": 5.0,
    }
    facts |= {key: stated[key] for key in facts if key in stated}
    facts |= {key: value for key, value in given.items() if value is not None}
    return Identity(
        name=str(facts["name"]),
        version=str(facts["version"]),
        licence=str(facts["licence"]),
        default_steps=int(facts["default_steps"]),
        default_guidance_scale=float(facts["default_guidance_scale"]),
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
    console.print(f"{to} loads with diffusers (weights are fp16).")


@app.command("inspect")
def inspect_command(bundle: BundlePath) -> None:
    """Show what a bundle is: parts, how near to the original, size, licence, digest."""
    console.print(_summary(_opened(bundle)))


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


def _summary(bundle: Bundle) -> Table:
    manifest = bundle.manifest
    table = Table(title=f"{manifest.name} {manifest.version}", caption=bundle.digest, title_justify="left")
    for heading in ("part", "class", "difference from the original", "cost of fp16"):
        table.add_column(heading)
    for role, part in manifest.parts.items():
        facts = manifest.parity.get(role)
        figures = (
            (f"{facts.max_abs_difference:.1e}", f"{facts.max_abs_rounding:.1e}") if facts else ("not measured", "")
        )
        table.add_row(role, part.model_class, *figures)
    if manifest.picture_parity is not None:
        table.add_row("whole pictures", "", f"{manifest.picture_parity.psnr_db} dB PSNR", "")
    megabytes = sum(each.bytes for each in manifest.files.values()) / 1e6
    table.add_row(f"{len(manifest.files)} files", f"{megabytes:.1f} MB", f"licence {manifest.licence}", "")
    return table
