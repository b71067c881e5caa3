"""The command line: `bowerbird up`, `draw`, `doctor`, `gateway`, administration, training, compiler.

Each command imports what it needs when it runs, so that `bowerbird --help` answers at once and the commands that need
torch can be named by an installation that has none.
"""

from __future__ import annotations

import asyncio
import importlib
from pathlib import Path
from typing import Annotated, Any

import typer

from bowerbird import __version__, administration, rights
from bowerbird.environment import gateway_url, read_settings

EXTRA_ARGUMENTS = {"allow_extra_args": True, "ignore_unknown_options": True}

app = typer.Typer(
    name="bowerbird",
    help="Generative images from a prompt: judged, checked and signed.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
app.add_typer(administration.tenants, name="tenants")
app.add_typer(administration.keys, name="keys")
app.add_typer(administration.demand, name="demand")
app.add_typer(rights.people, name="people")
app.command("usage")(administration.usage)
app.command("audit")(administration.audit)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"bowerbird {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Holds what stands before a command."""


@app.command()
def up(
    self_check: Annotated[bool, typer.Option(help="Draw out/first.png when every service is ready.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON line when ready, for programs.")] = False,
) -> None:
    """Start the whole stack on this machine and keep it running until Ctrl-C.

    BOWERBIRD_PORT (8000; 0 takes a free one) and BOWERBIRD_HOME (.bowerbird) say where. Exit codes: 0 stopped as
    asked, 1 it could not start, a service gave up, or the first picture failed.
    """
    from rich.console import Console

    from bowerbird.embedded.display import JsonLine, PlainLines, Terminal
    from bowerbird.embedded.facts import StackError
    from bowerbird.embedded.up import run

    settings = read_settings()
    console = Console(stderr=as_json)
    display = Terminal(console) if console.is_terminal else PlainLines(console)
    if as_json:
        display = JsonLine(console, Console())
    try:
        asyncio.run(run(settings, display, self_check=self_check))
    except StackError as error:
        display.failed(error.message)
        raise typer.Exit(1) from error


@app.command()
def draw(  # noqa: PLR0913, PLR0917 - the options of a command
    prompt: Annotated[str, typer.Argument(help='What to draw: "a blue jay in spring".')],
    output: Annotated[Path, typer.Option("--output", "-o", help="File; .png, .webp or .jpg says the format.")] = Path(
        "drawing.png"
    ),
    n: Annotated[int, typer.Option("--n", help="Pictures; several become name-1.png, name-2.png, …")] = 1,
    seed: Annotated[int | None, typer.Option(help="The same seed draws the same picture again.")] = None,
    size: Annotated[str | None, typer.Option(help="WIDTHxHEIGHT in pixels, one of the model's sizes.")] = None,
    steps: Annotated[int | None, typer.Option(help="Denoising steps.")] = None,
    candidates: Annotated[int | None, typer.Option(help="Drawn for each picture; the best is kept.")] = None,
    guidance_scale: Annotated[float | None, typer.Option(help="How much the prompt counts; 1 is without.")] = None,
    negative_prompt: Annotated[str | None, typer.Option(help="What should not be seen.")] = None,
    lora: Annotated[list[str] | None, typer.Option(help="NAME or NAME:WEIGHT; may be repeated.")] = None,
    seconds: Annotated[float | None, typer.Option(help="Draw a clip of 2 to 5: into .mp4, .webp or .gif.")] = None,
    fps: Annotated[int | None, typer.Option(help="Frames of a clip in a second, 8 to 24.")] = None,
    loop: Annotated[bool, typer.Option("--loop", help="A clip whose last frame goes over into the first.")] = False,
    begins_with: Annotated[
        Path | None, typer.Option("--from", exists=True, dir_okay=False, help="A clip that begins with this picture.")
    ] = None,
    url: Annotated[str | None, typer.Option(envvar="BOWERBIRD_URL", help="Default: BOWERBIRD_HOME's gateway.")] = None,
    key: Annotated[
        str | None, typer.Option(envvar="BOWERBIRD_KEY", help="API key; none is needed on loopback.")
    ] = None,
    timeout: Annotated[float, typer.Option(min=1, max=3600, help="Seconds to wait at most.")] = 300.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object about what was drawn.")] = False,
) -> None:
    """Draw pictures, or a clip, with a running gateway.

    Exit codes: 0 drawn, 1 something broke, 2 wrong usage, 3 refused (the request must change), 4 not reachable or too
    busy (try again).
    """
    from bowerbird.client import Client
    from bowerbird.client.clip_to_file import ALWAYS_MOVE, draw_clip_to_file
    from bowerbird.client.to_files import draw_to_files, exit_code
    from bowerbird.errors import BowerbirdError

    is_clip = seconds is not None or fps is not None or loop or begins_with is not None
    moves = is_clip or output.suffix.lower() in ALWAYS_MOVE
    wanted = {
        "n": None if moves and n == 1 else n,
        "seed": seed,
        "size": size,
        "steps": steps,
        "candidates": candidates,
        "guidance_scale": guidance_scale,
        "negative_prompt": negative_prompt,
        "lora": [_lora(each) for each in lora] if lora else None,
        "seconds": seconds,
        "fps": fps,
        "loop": loop or None,
        "begins_with": begins_with,
    }
    options: Any = {name: value for name, value in wanted.items() if value is not None}
    try:
        with Client(url or gateway_url(), key, timeout_seconds=timeout) as client:
            (draw_clip_to_file if moves else draw_to_files)(client, prompt, output, options, as_json=as_json)
    except BowerbirdError as error:
        typer.echo(error.message, err=True)
        raise typer.Exit(exit_code(error)) from error


@app.command()
def pregenerate(  # noqa: PLR0913, PLR0917 - the options of a command
    table: Annotated[
        Path,
        typer.Argument(
            help="CSV with the columns id, common_name, scientific_name and, as needed, pose, season, behaviour, "
            "resolution, quality, candidates, variation, output_format, output_compression."
        ),
    ],
    problems: Annotated[
        Path | None, typer.Option(help="Rows that were refused, failed or show another species. Default: beside TABLE.")
    ] = None,
    in_flight: Annotated[int, typer.Option(min=1, max=64, help="Rows that are asked for at a time.")] = 8,
    patience: Annotated[float, typer.Option(min=0, help="Minutes without any success before it gives up.")] = 15.0,
    url: Annotated[str | None, typer.Option(envvar="BOWERBIRD_URL", help="Default: BOWERBIRD_HOME's gateway.")] = None,
    key: Annotated[
        str | None, typer.Option(envvar="BOWERBIRD_KEY", help="API key; none is needed on loopback.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object at the end.")] = False,
) -> None:
    """Draw pictures of species before anybody asks for them; what is stored already is skipped.

    Exit codes: 0 every row is there, 1 something broke, 2 wrong usage, 3 rows were refused, 4 not reachable or too
    busy. After any of them, and after a kill, the same command goes on with what is missing.
    """
    from bowerbird.pregenerate.command import Wanted
    from bowerbird.pregenerate.command import pregenerate as fill
    from bowerbird.pregenerate.filling import Terms

    beside = table.with_name(f"{table.stem}.problems.csv")
    wanted = Wanted(table, problems or beside, Terms(in_flight, patience * 60), as_json)
    raise typer.Exit(fill(wanted, url or gateway_url(), key))


def _lora(named: str) -> dict[str, Any]:
    """`NAME:WEIGHT` as the API takes it."""
    name, colon, weight = named.partition(":")
    if not colon:
        return {"id": name}
    try:
        return {"id": name, "weight": float(weight)}
    except ValueError as error:
        raise typer.BadParameter(f"{weight!r} is not a number; write NAME or NAME:WEIGHT.") from error


@app.command()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
    cluster: Annotated[
        str | None,
        typer.Option(metavar="NAMESPACE", help="Look at a release in Kubernetes instead, through kubectl."),
    ] = None,
) -> None:
    """Say what is installed, reachable and fast, and what to do about what is not.

    Exit codes: 0 nothing fails, 1 something does.
    """
    from rich.console import Console

    from bowerbird.embedded.doctor import examine, report

    healthy = report(examine(read_settings(), cluster), Console(), as_json=as_json)
    raise typer.Exit(0 if healthy else 1)


@app.command()
def gateway() -> None:
    """Run the gateway alone; BOWERBIRD_*_URL say where the stages are."""
    from bowerbird.gateway.main import main

    main()


@app.command(context_settings=EXTRA_ARGUMENTS, add_help_option=False)
def backup(context: typer.Context) -> None:
    """Copy rows and pictures, and put them back: `bowerbird backup --help` (needs the extra `gateway`)."""
    _delegate("bowerbird.backups", "gateway", context.args, "bowerbird backup")


@app.command(context_settings=EXTRA_ARGUMENTS, add_help_option=False)
def train(context: typer.Context) -> None:
    """Train models: `bowerbird train --help` (needs the extra `training`)."""
    _delegate("bowerbird.training.commands", "training", context.args, "bowerbird train")


@app.command("compile", context_settings=EXTRA_ARGUMENTS, add_help_option=False)
def compile_(context: typer.Context) -> None:
    """Compile a checkpoint into a bundle (needs the extra `compiler`)."""
    _delegate("bowerbird.compiler.commands", "compiler", ["compile", *context.args], "bowerbird")


@app.command(context_settings=EXTRA_ARGUMENTS, add_help_option=False)
def prepare(context: typer.Context) -> None:
    """Make ahead, on the machine that serves, what a runtime keeps for a bundle."""
    _delegate("bowerbird.compiler.commands", "compiler", ["prepare", *context.args], "bowerbird")


@app.command(context_settings=EXTRA_ARGUMENTS, add_help_option=False)
def inspect(context: typer.Context) -> None:
    """Check a bundle's digests and show what it is (needs the extra `compiler`)."""
    _delegate("bowerbird.compiler.commands", "compiler", ["inspect", *context.args], "bowerbird")


@app.command(context_settings=EXTRA_ARGUMENTS, add_help_option=False)
def verify(context: typer.Context) -> None:
    """Compare every file of a bundle with its digest; print the bundle's own (needs the extra `compiler`)."""
    _delegate("bowerbird.compiler.commands", "compiler", ["verify", *context.args], "bowerbird")


@app.command(context_settings=EXTRA_ARGUMENTS, add_help_option=False)
def restore(context: typer.Context) -> None:
    """Make a diffusers folder from a bundle again (needs the extra `compiler`)."""
    _delegate("bowerbird.compiler.commands", "compiler", ["restore", *context.args], "bowerbird")


def _delegate(module: str, extra: str, arguments: list[str], program: str) -> None:
    """Runs the command line of a part that may not be installed; says which extra brings it when it is not."""
    try:
        importlib.import_module(module).app(args=arguments, prog_name=program)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("bowerbird"):
            raise
        typer.echo(f"This needs {error.name}; the extra {extra!r} brings it: uv sync --extra {extra}", err=True)
        raise typer.Exit(1) from error


def main() -> None:
    """The console script's entry."""
    app()


if __name__ == "__main__":
    main()
