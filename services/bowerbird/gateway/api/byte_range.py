"""`Range` of a GET (RFC 9110, section 14): one range of bytes, so that a player can jump and a download go on.

What is not understood, and more than one range, is passed over as the standard allows: the answer is the whole file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from bowerbird.errors import RangeUnsatisfiable

_RANGE = re.compile(r"\s*bytes\s*=\s*(\d{0,18})-(\d{0,18})\s*", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Bytes `first` to `last`, both included, of `length`."""

    first: int
    last: int
    length: int

    @property
    def content_range(self) -> str:
        """The header of that name."""
        return f"bytes {self.first}-{self.last}/{self.length}"


def range_of(stated: str | None, length: int) -> ByteRange | None:
    """The part that a `Range` header asks for; None for all. Raises RangeUnsatisfiable where nothing of it is there."""
    match = _RANGE.fullmatch(stated) if stated else None
    if match is None or not (match[1] or match[2]):
        return None
    if not match[1]:
        first, last = max(0, length - int(match[2])), length - 1
    else:
        first, last = int(match[1]), min(int(match[2] or length), length - 1)
        if match[2] and int(match[2]) < first:
            return None  # not a range, says the standard
    if first >= length:
        raise RangeUnsatisfiable(f"The file has {length} bytes. Accepted: a range that begins before its end.")
    return ByteRange(first, last, length)
