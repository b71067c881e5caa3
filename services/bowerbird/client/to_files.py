"""`bowerbird draw`: pictures into files, with the waiting, the naming and the explaining that a person expects.

`cli` parses the options and calls `draw_to_files`; everything the gateway checks is left to the gateway.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from bowerbird.client.jobs import JobEvent
from bowerbird.client.pictures import Drawing, DrawOptions
from bowerbird.client.sync_client import Client
from bowerbird.errors import BowerbirdError, RequestInvalid

FORMATS: dict[str, Literal["png", "webp", "jpeg"]] = {
    ".png": "png",
    ".webp": "webp",
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
}

EXIT_DRAWN = 0
EXIT_REFUSED = 3
EXIT_TRY_AGAIN = 4
EXIT_FAILED = 1


def draw_to_files(client: Client, prompt: str, output: Path, options: DrawOptions, *, as_json: bool) -> None:
    """Draws and writes `output`, or `name-1.png`, `name-2.png`, … when there are several; says what was written.

    Raises RequestInvalid for a suffix that is no picture's, before anything is asked, and what the client raises.
    """
    console = Console(stderr=True)
    wanted: DrawOptions = {**options, "output_format": format_of(output)}
    count = options.get("n", 1)
    with how_far_shown(console, "a picture" if count == 1 else f"{count} pictures") as on_progress:
        drawings = client.draw(prompt, on_progress=on_progress, **wanted)
    written = list(zip(paths_for(output, len(drawings)), drawings, strict=True))
    for path, drawing in written:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(drawing.image)
    if as_json:
        sys.stdout.write(json.dumps(_as_json(written)) + "\n")
    else:
        for path, drawing in written:
            console.print(_sentence(path, drawing), highlight=False, soft_wrap=True)


def format_of(output: Path) -> Literal["png", "webp", "jpeg"]:
    """The format that a file's name asks for; raises RequestInvalid when it is none of ours."""
    try:
        return FORMATS[output.suffix.lower()]
    except KeyError as error:
        accepted = ", ".join(FORMATS)
        raise RequestInvalid(f"{output.name!r} does not end in one of {accepted}.", param="output") from error


def paths_for(output: Path, count: int) -> Sequence[Path]:
    """`jay.png` for one picture; `jay-1.png`, `jay-2.png`, … for several."""
    if count == 1:
        return [output]
    return [output.with_name(f"{output.stem}-{number}{output.suffix}") for number in range(1, count + 1)]


def exit_code(error: BowerbirdError) -> int:
    """What a shell script needs to know: refused for good, worth trying again, or broken."""
    if error.status < 500:
        return EXIT_REFUSED
    return EXIT_TRY_AGAIN if error.status == 503 else EXIT_FAILED


@contextmanager
def how_far_shown(console: Console, what: str) -> Iterator[Callable[[JobEvent], None] | None]:
    """A line that says how far it is, where somebody looks; None where nobody does."""
    if not console.is_terminal:
        yield None
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(f"drawing {what}", total=None)
        yield lambda event: progress.update(task, description=f"drawing {what}{_how_far(event)}")


def _how_far(event: JobEvent) -> str:
    """Place and ETA while it waits, then the stage it is in."""
    if event.position is not None:
        eta = "" if event.eta_seconds is None else f", about {event.eta_seconds:.0f} s"
        return f": {event.position} in the queue{eta}"
    return f": {event.phase}" if event.phase else ""


def _sentence(path: Path, drawing: Drawing) -> str:
    scores = ", ".join(f"{name} {value:.2f}" for name, value in drawing.scores.items())
    return f"{path}  {len(drawing.image) / 1024:.0f} KB, seed {drawing.seed}{', ' if scores else ''}{scores}"


def _as_json(written: Sequence[tuple[Path, Drawing]]) -> dict[str, Any]:
    answer = written[0][1].answer
    return {
        "pictures": [
            {"path": str(path), "media_type": each.media_type, "seed": each.seed, "scores": each.scores}
            for path, each in written
        ],
        "request_id": answer.request_id,
        "trace_id": answer.trace_id,
        "model": answer.model,
        "model_digest": answer.model_digest,
        "seconds_by_stage": answer.seconds,
    }
