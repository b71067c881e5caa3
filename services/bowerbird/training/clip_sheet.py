"""What a person looks at: a sheet of clips, one a row, of every motion and of birds that move unlike each other.

Written by the motion stage while it teaches, by `bowerbird train clip-sheet` with a bundle, and by the examination.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bowerbird.training.clip_captions import plain_clip_prompt
from bowerbird.training.clips import FRAMES, Clip
from bowerbird.training.monitor import write_sheet
from bowerbird.training.scene import Scene

DrawClips = Callable[[Sequence[str], Sequence[int]], Iterable[NDArray[np.uint8]]]
"""Prompts and seeds to clips, one after the other, uint8 [FRAMES, height, width, 3] each."""

SHEET_CLIPS: Final = (
    Clip(Scene("american robin", "flying", "winter"), "flapping"),
    Clip(Scene("northern cardinal", "perched", "winter"), "taking off"),
    Clip(Scene("blue jay", "perched", "autumn"), "turning its head"),
    Clip(Scene("atlantic puffin", "standing", "spring"), "hopping"),
    Clip(Scene("green parrot", "perched", "winter"), "still"),
    Clip(Scene("flamingo", "flying", "summer"), "flapping"),
)
_SEED: Final = 7
_LARGE: Final = 128


def sheet_clips(draw: DrawClips) -> list[NDArray[np.uint8]]:
    """`SHEET_CLIPS`, as `draw` draws them; always from the same seeds."""
    return list(draw([plain_clip_prompt(clip) for clip in SHEET_CLIPS], [_SEED + i for i in range(len(SHEET_CLIPS))]))


def write_clip_sheet(path: Path, clips: Sequence[NDArray[np.uint8]]) -> None:
    """Clips as rows of frames, large ones at half their size."""
    step = 2 if clips[0].shape[1] > _LARGE else 1
    write_sheet(path, np.concatenate(clips)[:, ::step, ::step], FRAMES)
