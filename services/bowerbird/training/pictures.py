"""Drawn pictures in bulk: picture i of a seed is a function of the seed and i, whoever draws it and in whatever order.

Called by every training stage and by evaluation. Pictures are kept in one `.npy` file beside the checkpoints and
mapped from there, because drawing 12 000 costs minutes.
"""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from bowerbird.training.drawing import draw
from bowerbird.training.scene import TAUGHT, Combination, Scene, sample_scene

_CHUNK = 50


def scene_at(seed: int, index: int, combinations: tuple[Combination, ...] = TAUGHT) -> Scene:
    """Scene `index` of a seed."""
    return sample_scene(np.random.default_rng((seed, index)), combinations)


def _drawn(job: tuple[int, int, int, int, tuple[Combination, ...]]) -> NDArray[np.uint8]:
    seed, start, stop, size, combinations = job
    cv2.setNumThreads(1)
    return np.stack([draw(scene_at(seed, index, combinations), size) for index in range(start, stop)])


@dataclass(frozen=True)
class PictureSet:
    """Pictures 0 to `count` of a seed, `size` pixels a side, of the given combinations."""

    seed: int
    count: int
    size: int
    combinations: tuple[Combination, ...] = TAUGHT

    def scenes(self) -> list[Scene]:
        """What the pictures show."""
        return [scene_at(self.seed, index, self.combinations) for index in range(self.count)]


def drawn_pictures(folder: Path, wanted: PictureSet, workers: int = 2) -> NDArray[np.uint8]:
    """The set's pictures, uint8 [count, size, size, 3], mapped read-only from a file in `folder`, drawn if absent."""
    seed, count, size = wanted.seed, wanted.count, wanted.size
    path = folder / f"pictures-{seed}-{count}-{size}.npy"
    if path.exists():
        stored: NDArray[np.uint8] = np.load(path, mmap_mode="r")
        if stored.shape[0] >= count and stored.shape[1] == size:
            return stored[:count]
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial.npy")
    target = np.lib.format.open_memmap(partial, "w+", np.uint8, (count, size, size, 3))
    starts = range(0, count, _CHUNK)
    jobs = [(seed, start, min(start + _CHUNK, count), size, wanted.combinations) for start in starts]
    if workers > 1:
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            for job, pictures in zip(jobs, pool.map(_drawn, jobs), strict=True):
                target[job[1] : job[2]] = pictures
    else:
        for job in jobs:
            target[job[1] : job[2]] = _drawn(job)
    target.flush()
    partial.replace(path)
    return np.load(path, mmap_mode="r")  # type: ignore[no-any-return]
