"""`bowerbird draw … --seconds 3 -o x.mp4`: one clip into a file; what `to_files` is for pictures."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from bowerbird.client.sync_client import Client
from bowerbird.client.to_files import how_far_shown
from bowerbird.client.videos import Clip, ClipOptions
from bowerbird.errors import RequestInvalid

FORMATS: dict[str, Literal["mp4", "webp", "gif"]] = {".mp4": "mp4", ".webp": "webp", ".gif": "gif"}
ALWAYS_MOVE = frozenset({".mp4", ".gif"})
"""Endings of what is a clip, whatever else is said."""


class ClipWishes(ClipOptions, total=False):
    """What may be said of a clip on the command line."""

    begins_with: Path
    """A picture's file."""


def draw_clip_to_file(client: Client, prompt: str, output: Path, wishes: ClipWishes, *, as_json: bool) -> None:
    """Draws and writes `output`; says what was written.

    Raises RequestInvalid for a suffix that is no clip's, before anything is asked, and what the client raises.
    """
    console = Console(stderr=True)
    asked: dict[str, Any] = {**wishes, "format": clip_format_of(output)}
    first: Path | None = asked.pop("begins_with", None)
    reference = None if first is None else (first.name, first.read_bytes())
    with how_far_shown(console, "a clip") as on_progress:
        clip = client.animate(prompt, input_reference=reference, on_progress=on_progress, **asked)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_bytes(clip.content)
    if as_json:
        sys.stdout.write(json.dumps(_as_json(output, clip)) + "\n")
    else:
        console.print(_sentence(output, clip), highlight=False, soft_wrap=True)


def clip_format_of(output: Path) -> Literal["mp4", "webp", "gif"]:
    """The format that a file's name asks for; raises RequestInvalid when it is none that moves."""
    try:
        return FORMATS[output.suffix.lower()]
    except KeyError as error:
        accepted = ", ".join(FORMATS)
        raise RequestInvalid(
            f"{output.name!r} does not end in one of {accepted}, which move.", param="output"
        ) from error


def _sentence(path: Path, clip: Clip) -> str:
    scores = ", ".join(f"{name} {value:.2f}" for name, value in clip.scores.items())
    how = clip.video.facts["clip"]
    return (
        f"{path}  {len(clip.content) / 1024:.0f} KB, {how['duration_seconds']:g} s of {how['frames']} frames "
        f"({how['drawn_frames']} drawn), seed {clip.seed}{', ' if scores else ''}{scores}"
    )


def _as_json(path: Path, clip: Clip) -> dict[str, object]:
    facts = clip.video.facts
    return {
        "clips": [
            {
                "path": str(path),
                "media_type": clip.media_type,
                "seed": clip.seed,
                "scores": clip.scores,
                **facts["clip"],
            }
        ],
        "request_id": facts["request_id"],
        "trace_id": facts["trace_id"],
        "model": facts["model"],
        "model_digest": facts["model_digest"],
        "seconds_by_stage": facts["seconds"],
    }
