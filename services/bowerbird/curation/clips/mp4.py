"""A clip as MP4: AV1 (libaom, BSD-2-Clause) in one video track, `yuv420p` of BT.709's primaries, ready to be streamed.

Called by `encoding`. The encoder is the one that Pillow's wheel carries for AVIF: an animated AVIF holds an AV1 stream
that differs from an MP4's in nothing but the boxes around it, so the stream is taken out of those and put into an
MP4's (`boxes`). Why not by FFmpeg: PyAV's wheels carry x264 and x265, which are GPL (PyAV's issues 2270 and 2408); the
FFmpeg in OpenCV's is LGPL, but its writer takes no options, and VP9 at its defaults takes more than ten seconds where
this takes half of one (120 frames of 256 x 256, measured). H.264 is out for its encoders' licence.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Sequence
from itertools import islice

from PIL import Image

from bowerbird.curation.clips.boxes import FULL_BOX_BYTES, SAMPLE_ENTRY_BYTES, Track, box, boxes, inside, movie
from bowerbird.frames import Frames

SPEED = 10
"""Of libaom, 0 (slowest) to 10; from 7 on its realtime mode. 7 takes twice as long for files 11 % smaller."""
BRANDS = (b"iso6", b"isom", b"av01", b"mp41")
XMP_UUID = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
"""Adobe's, XMP specification part 3, 1.1.4 (MPEG-4)."""
TICKS_PER_FRAME = 1000
SAMPLE_TABLE = (b"moov", b"trak", b"mdia", b"minf", b"stbl")
KEPT = (b"av1C", b"colr")
"""What the sample entry of an MP4 holds; that of an AVIF says more, of still pictures."""


def encode_mp4(frames: Frames, frames_per_second: float, quality: int, packet: bytes) -> bytes:
    """uint8 `[frames, height, width, 3]` as a file with XMP; `quality` 0 to 100. Odd sides lose their last line."""
    even = frames[:, : frames.shape[1] // 2 * 2, : frames.shape[2] // 2 * 2]
    avif = _encoded(even, quality)
    table = inside(avif, *SAMPLE_TABLE)
    track = Track(
        width=even.shape[2],
        height=even.shape[1],
        sample_entry=_sample_entry(table),
        samples=list(_samples(avif, table)),
        keys=[number - 1 for number in _numbers(table, b"stss")],
        ticks_per_second=round(frames_per_second * TICKS_PER_FRAME),
        ticks_per_sample=TICKS_PER_FRAME,
    )
    return movie(BRANDS, track, box(b"uuid", XMP_UUID, packet))


def _encoded(frames: Frames, quality: int) -> bytes:
    file = io.BytesIO()
    first, *others = (Image.fromarray(frame) for frame in frames)
    first.save(
        file,
        "AVIF",
        save_all=True,
        append_images=others,
        duration=TICKS_PER_FRAME,
        codec="aom",
        quality=quality,
        speed=SPEED,
        subsampling="4:2:0",
        range="limited",
        max_threads=1,
    )
    return file.getvalue()


def _sample_entry(table: bytes) -> bytes:
    entry = inside(table, b"stsd")[FULL_BOX_BYTES + 4 :]
    content = inside(entry, b"av01")
    held = [box(kind, each) for kind, each in boxes(content[SAMPLE_ENTRY_BYTES:]) if kind in KEPT]
    return box(b"av01", content[:SAMPLE_ENTRY_BYTES], *held)


def _samples(file: bytes, table: bytes) -> Iterator[bytes]:
    """The coded frames, which lie in chunks, in their order."""
    sizes = iter(_numbers(table, b"stsz", skipped=4))
    offsets = _numbers(table, b"stco")
    for offset, count in zip(offsets, _chunk_lengths(table, len(offsets)), strict=True):
        begin = offset
        for size in islice(sizes, count):
            yield file[begin : begin + size]
            begin += size


def _chunk_lengths(table: bytes, chunks: int) -> Sequence[int]:
    """How many samples each chunk has; runs of equal ones are written once."""
    runs = list(struct.iter_unpack(">3I", inside(table, b"stsc")[FULL_BOX_BYTES + 4 :]))
    ends = [first for first, _, _ in runs[1:]] + [chunks + 1]
    return [count for (first, count, _), end in zip(runs, ends, strict=True) for _ in range(first, end)]


def _numbers(table: bytes, kind: bytes, skipped: int = 0) -> list[int]:
    """The 32-bit numbers of a box that states their count."""
    content = inside(table, kind)[FULL_BOX_BYTES + skipped :]
    (count,) = struct.unpack_from(">I", content)
    return list(struct.unpack_from(f">{count}I", content, 4))
