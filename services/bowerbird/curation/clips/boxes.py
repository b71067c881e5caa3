"""The boxes that an MP4 consists of (ISO/IEC 14496-12, the base media file format): read, and written for one track.

Called by `mp4`. A box is its length (32 bits, big endian), its type, and what it holds; AVIF and MP4 consist of the
same ones. `movie` writes them in the order in which a player wants to read them: what the file is, where everything
lies, and then the pictures ("fast start"), so that a browser plays while it loads.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

HEADER_BYTES = 8
FULL_BOX_BYTES = 4
"""Version and flags, with which many boxes begin."""
SAMPLE_ENTRY_BYTES = 78
"""Of a VisualSampleEntry, before the boxes in it."""
UNITY_MATRIX = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
UNDETERMINED_LANGUAGE = 0x55C4
TRACK_IS_SHOWN = 3
"""Enabled, and in the presentation."""


@dataclass(frozen=True, slots=True)
class Track:
    """Pictures in the order in which they are shown, each as long as the others."""

    width: int
    height: int
    sample_entry: bytes
    """The box that says how they are coded."""
    samples: Sequence[bytes]
    keys: Sequence[int]
    """Numbers of those that need no other, from 0."""
    ticks_per_second: int
    ticks_per_sample: int

    @property
    def ticks(self) -> int:
        """How long all of it is."""
        return len(self.samples) * self.ticks_per_sample


def box(kind: bytes, *parts: bytes) -> bytes:
    """A box of these parts, one after the other."""
    length = HEADER_BYTES + sum(map(len, parts))
    return b"".join((struct.pack(">I4s", length, kind), *parts))


def boxes(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Type and content of each box; raises ValueError where there are none."""
    position = 0
    while position < len(content):
        if len(content) - position < HEADER_BYTES:
            raise ValueError("a box is cut off")
        length, kind = struct.unpack_from(">I4s", content, position)
        if not HEADER_BYTES <= length <= len(content) - position:
            raise ValueError("a box is not as long as it says")
        yield kind, content[position + HEADER_BYTES : position + length]
        position += length


def inside(content: bytes, *path: bytes) -> bytes:
    """The content of the first box at the end of a path; raises ValueError where there is none."""
    for kind in path:
        content = next((held for each, held in boxes(content) if each == kind), b"")
        if not content:
            raise ValueError(f"no box {kind.decode('ascii')}")
    return content


def movie(brands: Sequence[bytes], track: Track, *others: bytes) -> bytes:
    """A file of one track, with `others` (whole boxes) before the pictures."""
    head = box(b"ftyp", brands[0], struct.pack(">I", 0), *brands)
    length = len(head) + len(_moov(track, 0)) + sum(map(len, others)) + HEADER_BYTES
    return b"".join((head, _moov(track, length), *others, box(b"mdat", *track.samples)))


def _full(kind: bytes, *parts: bytes, version: int = 0, flags: int = 0) -> bytes:
    return box(kind, struct.pack(">I", version << 24 | flags), *parts)


def _moov(track: Track, first_sample_at: int) -> bytes:
    duration = struct.pack(">4I", 0, 0, track.ticks_per_second, track.ticks)
    rate_and_volume = struct.pack(">IHH8x", 0x10000, 0x100, 0)
    movie_header = _full(b"mvhd", duration, rate_and_volume, UNITY_MATRIX, bytes(24), struct.pack(">I", 2))
    return box(b"moov", movie_header, box(b"trak", _track_header(track), _media(track, first_sample_at)))


def _track_header(track: Track) -> bytes:
    facts = struct.pack(">5I8x4H", 0, 0, 1, 0, track.ticks, 0, 0, 0, 0)
    size = struct.pack(">2I", track.width << 16, track.height << 16)
    return _full(b"tkhd", facts, UNITY_MATRIX, size, flags=TRACK_IS_SHOWN)


def _media(track: Track, first_sample_at: int) -> bytes:
    header = _full(b"mdhd", struct.pack(">4I2H", 0, 0, track.ticks_per_second, track.ticks, UNDETERMINED_LANGUAGE, 0))
    handler = _full(b"hdlr", struct.pack(">I4s12x", 0, b"vide"), b"VideoHandler\0")
    here = _full(b"dref", struct.pack(">I", 1), _full(b"url ", flags=1))
    information = box(
        b"minf", _full(b"vmhd", bytes(8), flags=1), box(b"dinf", here), _sample_table(track, first_sample_at)
    )
    return box(b"mdia", header, handler, information)


def _sample_table(track: Track, first_sample_at: int) -> bytes:
    """All samples lie in one chunk."""
    count = len(track.samples)
    return box(
        b"stbl",
        _full(b"stsd", struct.pack(">I", 1), track.sample_entry),
        _full(b"stts", struct.pack(">3I", 1, count, track.ticks_per_sample)),
        _full(b"stsc", struct.pack(">4I", 1, 1, count, 1)),
        _full(b"stsz", struct.pack(">2I", 0, count), b"".join(struct.pack(">I", len(each)) for each in track.samples)),
        _full(b"stco", struct.pack(">2I", 1, first_sample_at)),
        _full(
            b"stss", struct.pack(">I", len(track.keys)), b"".join(struct.pack(">I", each + 1) for each in track.keys)
        ),
    )
