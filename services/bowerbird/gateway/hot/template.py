"""The body of an answer whose pictures are stored, but for what every request has of its own.

It is made once, by the code that makes every such body (`api.image_drawing`), with marks in the places of the
request's id, its trace, its times and the pictures; then it is cut at the marks. No caller can have written a mark:
they are random, and of this process.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bowerbird.gateway.api.image_drawing import ImagesResponse

_MARK = f"mark-{secrets.token_hex(16)}-"
_REQUEST, _TRACE, _SECONDS, _PICTURE = (_MARK + each for each in ("request", "trace", "seconds", "picture"))
_CUT = re.compile(rf'{{"{_SECONDS}":0\.0}}|{_MARK}(?:request|trace|picture)'.encode())


@dataclass(frozen=True, slots=True)
class Template:
    """A body in pieces: the text before each picture, and the text after the last one with three gaps."""

    before_pictures: Sequence[bytes]
    tail: Sequence[bytes]
    gaps: Sequence[str]
    """What goes between the pieces of `tail`."""

    @classmethod
    def of(cls, body: ImagesResponse) -> Template:
        """Of an answer as it would be given now."""
        facts = body.bowerbird.model_copy(
            update={"request_id": _REQUEST, "trace_id": _TRACE, "seconds": {_SECONDS: 0.0}}
        )
        data = [image.model_copy(update={"b64_json": _PICTURE}) for image in body.data]
        marked = body.model_copy(update={"data": data, "bowerbird": facts}).to_json()
        pieces, marks = _CUT.split(marked), [each.decode() for each in _CUT.findall(marked)]
        count = len(data)
        return cls(pieces[:count], pieces[count:], marks[count:])

    @property
    def size_bytes(self) -> int:
        """What it takes in memory, without the objects."""
        return sum(map(len, (*self.before_pictures, *self.tail)))

    def filled(self, pictures: Sequence[bytes], request_id: str, trace_id: str, seconds: bytes) -> list[bytes]:
        """The body with these in its gaps, in pieces; `pictures` in base64, not copied; `seconds` is a JSON object."""
        own = {_REQUEST: request_id.encode(), _TRACE: trace_id.encode()}
        body = [piece for each in zip(self.before_pictures, pictures, strict=True) for piece in each]
        tail = [self.tail[0]]
        for gap, after in zip(self.gaps, self.tail[1:], strict=True):
            tail += own.get(gap, seconds), after
        body.append(b"".join(tail))
        return body
