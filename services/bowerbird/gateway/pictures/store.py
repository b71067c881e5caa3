"""What a picture store can do; `folder` and `s3` do it."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Iterable
from typing import Protocol

from bowerbird.errors import RecordsUnavailable

RETRY_AFTER_SECONDS = 2

_KEY = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*(/[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*)*")


class PictureStore(Protocol):
    """Bytes by key; a key is one or more names of letters, digits, `_`, `-` and inner dots, joined by slashes."""

    async def put(self, key: str, body: bytes, *, lasting: bool = True) -> None:
        """Keeps `body`; raises RecordsUnavailable, and then the key may exist or not, but never half.

        What need not be `lasting` may be lost or altered where the machine loses its power before long: it is for
        whoever looks at the digest of what he gets, and can make it again. To wait for the disk takes longer than all
        the rest.
        """

    async def get(self, key: str) -> bytes:
        """What was put; raises PictureLost when there is nothing, RecordsUnavailable."""

    async def delete(self, keys: Iterable[str]) -> None:
        """Forgets these; those that are not there are no error."""

    def keys(self, prefix: str) -> AsyncGenerator[str]:
        """Every key that begins with `prefix`, which ends with a slash; in no particular order."""

    async def remove_unfinished(self) -> int:
        """Removes what puts left behind that a crash ended more than an hour ago; how many."""


def checked(key: str) -> str:
    """The key itself; raises ValueError for one that could leave its folder or be listed under another name."""
    if not _KEY.fullmatch(key):
        raise ValueError(f"{key!r} is not the key of a picture")
    return key


def unavailable() -> RecordsUnavailable:
    """The fact that the store cannot be asked now."""
    return RecordsUnavailable(
        f"The picture store cannot be read or written now; try again in {RETRY_AFTER_SECONDS} s.",
        retry_after_seconds=RETRY_AFTER_SECONDS,
    )
