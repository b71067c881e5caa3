"""Frames to one file that moves, and says in XMP that a model made it.

Called by `publishing`, in a thread. Timing: GIF counts hundredths of a second and WebP thousandths, so a frame's length
is the difference of two rounded times and the whole is as long as it should be; MP4's clock fits the frame rate. A
frame that equals the one before may be left out by GIF and WebP, whose other frame is then shown for longer.
"""

from __future__ import annotations

from bowerbird.contracts import ClipFormat, PublishClip
from bowerbird.curation.clips.gif import encode_gif
from bowerbird.curation.clips.mp4 import encode_mp4
from bowerbird.curation.clips.webp import encode_webp
from bowerbird.curation.encoding import TRAINED_ALGORITHMIC_MEDIA, XMP_PACKET
from bowerbird.frames import Frames

MEDIA_TYPES = {ClipFormat.GIF: "image/gif", ClipFormat.WEBP: "image/webp", ClipFormat.MP4: "video/mp4"}


def encode_clip(frames: Frames, wanted: PublishClip, source_type: str = TRAINED_ALGORITHMIC_MEDIA) -> bytes:
    """uint8 `[frames, height, width, 3]` RGB as a file with XMP."""
    packet = XMP_PACKET.replace(TRAINED_ALGORITHMIC_MEDIA, source_type).encode()
    match wanted.format:
        case ClipFormat.GIF:
            return encode_gif(frames, wanted.frames_per_second, packet)
        case ClipFormat.WEBP:
            return encode_webp(frames, wanted.frames_per_second, wanted.quality, packet)
        case ClipFormat.MP4:
            return encode_mp4(frames, wanted.frames_per_second, wanted.quality, packet)
