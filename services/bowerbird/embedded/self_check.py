"""The self-check of `bowerbird up`: one picture through the whole chain, drawn as any client would."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bowerbird.client import AsyncClient, Drawing
from bowerbird.embedded.facts import SelfCheckFailed
from bowerbird.errors import BowerbirdError

PROMPT = "an american robin perched on a branch in winter"
SEED = 11
TIMEOUT_SECONDS = 60.0
"""Twenty times what it takes on two idle cores; another program may have them."""


@dataclass(frozen=True, slots=True)
class FirstPicture:
    """What the self-check found."""

    path: Path
    seconds: float
    """From sending the request to the file on disk."""
    seconds_by_stage: Mapping[str, float]
    trace_id: str | None
    scores: Mapping[str, float]


async def draw_first_picture(url: str, key: str | None, path: Path) -> FirstPicture:
    """Draws `PROMPT` into `path`; raises SelfCheckFailed with the gateway's reason."""
    started = time.monotonic()
    try:
        async with AsyncClient(url, key, timeout_seconds=TIMEOUT_SECONDS) as client:
            [drawing] = await client.draw(PROMPT, seed=SEED, n=1, cache="fresh")
    except BowerbirdError as error:
        raise SelfCheckFailed(f"Every service is ready, but the first picture failed: {error.message}") from error
    await asyncio.to_thread(_write, path, drawing)
    seconds = time.monotonic() - started
    return FirstPicture(path, seconds, drawing.answer.seconds, drawing.answer.trace_id, drawing.scores)


def _write(path: Path, drawing: Drawing) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(drawing.image)
