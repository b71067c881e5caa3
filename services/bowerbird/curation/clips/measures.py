"""What is measured about a clip beyond its pictures: VBench's formulas (Huang et al., "VBench", CVPR 2024).

Called by `judging`, and by whoever compares models. Where VBench asks networks that are not here (AMT to interpolate,
RAFT for flow, DINO for features), OpenCV's DIS flow (Kroeger et al., 2016) and the judge's own image tower stand in:
the formulas are VBench's, the numbers are not comparable with its tables.

Frames are uint8 `[frames, height, width, 3]` RGB, at least 2 of them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from bowerbird.curation.measures import HardFact, Scale
from bowerbird.frames import Frames

FLOW_SIDE = 256
"""Longest side in pixels at which flow is looked for: more costs more and says the same."""
MAX_TRIPLES = 16
TOP_SHARE = 0.05
"""VBench's dynamic degree looks at the fastest 5 % of the pixels: a small bird moves in a large picture."""
NO_MOTION = re.compile(r"\b(?:still|motionless|not\s+moving)\b", re.IGNORECASE)
"""The words by which captions of clips name the motion that is none."""
_NEVER_ZERO = 1e-6

Luma = NDArray[np.uint8]
Flow = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Motion:
    """How a clip moves."""

    smoothness: float
    """0 to 1: one minus the mean error, over 255, of every second frame against the one interpolated from both its
    neighbours."""
    dynamic_degree: float
    """How fast the fastest 5 % of the pixels are, on average, in short sides of the picture a second."""


def asks_for_no_motion(prompt: str) -> bool:
    """Whether the right clip of a prompt may be one that stands still."""
    return NO_MOTION.search(prompt) is not None


def temporal_flickering(frames: Frames) -> float:
    """(255 - mean |f(t) - f(t + 1)|) / 255: 0 to 1, and 1 where nothing changes; motion counts as well."""
    differences = [float(np.mean(cv2.absdiff(one, next_))) for one, next_ in pairwise(frames)]
    return 1.0 - float(np.mean(differences)) / 255


def loop_seam(frames: Frames) -> float:
    """|f(last) - f(first)| over the mean |f(t) - f(t + 1)|: 1 where the circle closes unseen, 0 in a still clip.

    Nothing else tells a loop that jumps from one that does not: both ends look fine by themselves.
    """
    step = (1.0 - temporal_flickering(frames)) * 255
    seam = float(np.mean(cv2.absdiff(frames[-1], frames[0])))
    return seam / max(step, _NEVER_ZERO) if seam > 0 else 0.0


def subject_consistency(embeddings: Sequence[NDArray[np.float32]]) -> float:
    """Mean over t >= 1 of (max(0, cos(e(t - 1), e(t))) + max(0, cos(e(0), e(t)))) / 2; embeddings of length one."""
    to_first = [max(0.0, float(embeddings[0] @ now)) for now in embeddings[1:]]
    to_last = [max(0.0, float(one @ now)) for one, now in pairwise(embeddings)]
    return float(np.mean([to_first, to_last]))


def motion(frames: Frames, frames_per_second: float) -> Motion:
    """How a clip moves, from at most 16 of its odd frames and their neighbours; two frames alone cannot stumble."""
    flows: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)  # its stub knows no flow to begin without
    errors, speeds = [0.0] if len(frames) == 2 else [], []
    odd = range(1, max(2, len(frames) - 1), 2)
    for middle in (odd[each] for each in _evenly(len(odd), MAX_TRIPLES)):
        last = min(middle + 1, len(frames) - 1)
        before, after = _small_luma(frames[middle - 1]), _small_luma(frames[last])
        forth = flows.calc(before, after, None)
        speeds.append(_top_speed(forth) / (last - middle + 1) * frames_per_second / min(before.shape))
        if last > middle:
            back = flows.calc(after, before, None)
            between = (_half_way(before, back) + _half_way(after, forth)) / 2
            errors.append(float(np.mean(np.abs(between - _small_luma(frames[middle])))))
    return Motion(1.0 - float(np.mean(errors)) / 255, float(np.mean(speeds)))


def _evenly(count: int, most: int) -> list[int]:
    """Numbers below `count`, at most so many, from the first to the last."""
    picked: list[int] = np.unique(np.linspace(0, count - 1, most).round().astype(int)).tolist()
    return picked


def _small_luma(frame: NDArray[np.uint8]) -> Luma:
    luma = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    scale = FLOW_SIDE / max(luma.shape)
    if scale < 1:
        luma = cv2.resize(luma, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return np.asarray(luma, np.uint8)


def _half_way(luma: Luma, flow: Flow) -> NDArray[np.float32]:
    """`luma` as it is half way to the other frame, from which `flow` leads to it."""
    height, width = luma.shape
    here = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1)
    there = (here + flow / 2).astype(np.float32)
    moved = cv2.remap(luma, there[..., 0], there[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, np.float32)


def _top_speed(flow: Flow) -> float:
    speeds = np.linalg.norm(flow, axis=-1).ravel()
    count = max(1, int(TOP_SHARE * speeds.size))
    return float(np.partition(speeds, -count)[-count:].mean())


FLICKERING = Scale("temporal_flickering", "1", "higher_is_better", 0.0, 1.0, noise=0.005)
SMOOTHNESS = Scale("motion_smoothness", "1", "higher_is_better", 0.0, 1.0, weight=0.2, noise=0.005)
DYNAMIC = Scale(
    "dynamic_degree",
    "1",
    "higher_is_better",
    0.0,
    100.0,
    noise=0.02,
    hard_facts=(HardFact("motionless", below=0.002),),
)
SUBJECT = Scale("subject_consistency", "1", "higher_is_better", 0.0, 1.0, weight=0.2, noise=0.02)
SEAM = Scale("loop_seam", "1", "lower_is_better", 0.0, 1000.0, weight=0.2, noise=0.5)
