"""Drawn clips in bulk, as pixels: clip i of a seed is a function of the seed and i, whoever draws it.

Called by the clips' classifier. Torch-free, as `pictures` is: processes that draw start quickly. Kept in one `.npy`
file and mapped from there.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from bowerbird.training.clips import FRAMES, Clip, clip_at, draw_clip
from bowerbird.training.scene import COMBINATIONS

_CHUNK = 20
_Job = tuple[int, int, int, int]


@dataclass(frozen=True)
class ClipPictures:
    """Clips 0 to `count` of a seed, of all combinations, `size` pixels a side."""

    seed: int
    count: int
    size: int

    def clips(self) -> list[Clip]:
        """What they show."""
        return [clip_at(self.seed, index, COMBINATIONS) for index in range(self.count)]


def drawn_clips(folder: Path, wanted: ClipPictures, workers: int = 2) -> NDArray[np.uint8]:
    """The frames, uint8 [count, FRAMES, size, size, 3], mapped read-only from a file in `folder`; drawn if absent."""
    seed, count, size = wanted.seed, wanted.count, wanted.size
    path = folder / f"clips-{seed}-{count}-{size}.npy"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial.npy")
        target = np.lib.format.open_memmap(partial, "w+", np.uint8, (count, FRAMES, size, size, 3))
        jobs = [(seed, start, min(start + _CHUNK, count), size) for start in range(0, count, _CHUNK)]
        for (_, start, stop, _), frames in zip(jobs, _drawn(jobs, workers), strict=True):
            target[start:stop] = frames
        target.flush()
        partial.replace(path)
    return np.load(path, mmap_mode="r")  # type: ignore[no-any-return]


def _drawn(jobs: list[_Job], workers: int) -> Iterator[NDArray[np.uint8]]:
    if workers == 1:
        yield from map(_chunk, jobs)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(_chunk, jobs)


def _chunk(job: _Job) -> NDArray[np.uint8]:
    seed, start, stop, size = job
    cv2.setNumThreads(1)
    return np.stack([draw_clip(clip_at(seed, index, COMBINATIONS), size) for index in range(start, stop)])
