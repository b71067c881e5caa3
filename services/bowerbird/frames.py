"""Frames as they cross a process border: raw `.npy` bytes of uint8 RGB pixels.

The services that draw, judge, check and publish import this; the gateway does not, it only forwards the bytes. `.npy`
because it costs nothing (encoding a PNG of 1024 x 1024 takes 139 ms) and states shape and dtype itself.
"""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray

from bowerbird.parts import StreamBroken

Frames = NDArray[np.uint8]


def npy(frames: Frames) -> bytes:
    """uint8 `[n, height, width, 3]` as the bytes of a `.npy` file (format 1.0, C order)."""
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.ascontiguousarray(frames), version=(1, 0), allow_pickle=False)
    return buffer.getvalue()


def frames_of(raw: bytes) -> Frames:
    """The frames of a `.npy` body, uint8 `[n, height, width, 3]`; raises StreamBroken when it is anything else."""
    try:
        frames: Frames = np.load(io.BytesIO(raw), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise StreamBroken("a frames part is not a .npy file") from error
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3:
        raise StreamBroken(f"frames must be uint8 [n, height, width, 3], not {frames.dtype} {list(frames.shape)}")
    return frames
