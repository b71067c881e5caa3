"""A clip as animated WebP, by Pillow (libwebp).

Called by `encoding`.
"""

from __future__ import annotations

import io

from PIL import Image

from bowerbird.curation.clips.timing import durations
from bowerbird.frames import Frames

METHOD = 0
TICKS_PER_SECOND = 1000


def encode_webp(frames: Frames, frames_per_second: float, quality: int, packet: bytes) -> bytes:
    """uint8 `[frames, height, width, 3]` as a file with XMP that repeats for ever; `quality` 0 to 100."""
    file = io.BytesIO()
    first, *others = (Image.fromarray(frame) for frame in frames)
    first.save(
        file,
        "WEBP",
        save_all=True,
        append_images=others,
        duration=durations(len(frames), frames_per_second, TICKS_PER_SECOND),
        loop=0,
        quality=quality,
        method=METHOD,
        xmp=packet,
    )
    return file.getvalue()
