"""How long each frame is shown, in a file whose clock does not fit the frame rate."""

from __future__ import annotations

from itertools import pairwise


def durations(count: int, frames_per_second: float, ticks_per_second: int) -> list[int]:
    """Ticks of each frame: their sum is never more than half a tick away from where it should be."""
    ends = [round(number * ticks_per_second / frames_per_second) for number in range(count + 1)]
    return [end - begin for begin, end in pairwise(ends)]
