"""An export's archive: a tar stream of JSON lines and pictures, made page by page while it is fetched.

    README.txt               what is in it, for whoever opens it
    jobs-00001.jsonl, …      each kind of thing, PAGE rows a member
    pictures/…, cached/…     what the rows name
    files/…                  a tenant's files as they were uploaded or written
    manifest.json            counts, and what is left out and why; the last member: without it the archive is not whole

A member of a tar states its size before its bytes, so that a kind is cut into pages whose size is known; a zip would
keep a directory of all members in memory until its end. What memory holds is one page and one picture.
(POSIX.1-2017, pax: https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html)
"""

from __future__ import annotations

import json
import tarfile
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from bowerbird import __version__
from bowerbird.errors import PictureLost
from bowerbird.gateway.pictures import PictureStore
from bowerbird.gateway.rights.exports import Export
from bowerbird.gateway.rights.holding import Holding, Page

MEDIA_TYPE = "application/x-tar"
END = bytes(2 * tarfile.BLOCKSIZE)

LEFT_OUT = (
    ("access log", "lines hold ids, routes and times, no prompt and no end user; removed within 14 days"),
    ("audit log", "what administrators did; it holds no prompt and no end user but by keyed name"),
    ("digests of keys, signing secrets", "they would open what they protect"),
    ("pictures of plain requests that were not cached", "they are not kept"),
    ("backups of the database or the picture store", "whoever makes them keeps them"),
)
"""What no archive has -> why."""

_README = """Everything that this Bowerbird keeps about the tenant or the person in manifest.json.

*.jsonl: one JSON object a line. pictures/, cached/, files/: what they name.
The archive is whole when its last member is manifest.json.
"""
_ENDINGS = {b"\x89PNG": "png", b"RIFF": "webp", b"\xff\xd8": "jpg", b"GIF8": "gif"}


@dataclass(slots=True)
class Archive:
    """Everything of an export's subject."""

    export: Export
    holdings: Sequence[Holding]
    pictures: PictureStore
    _counts: Counter[str] = field(default_factory=Counter)
    _lost: int = 0

    async def stream(self) -> AsyncGenerator[bytes]:
        """The archive's bytes, in order."""
        yield member("README.txt", _README.encode())
        for holding in self.holdings:
            number = 0
            async with aclosing(_generator(holding.pages(self.export.subject))) as pages:
                async for page in pages:
                    number += 1
                    self._counts[holding.kind] += len(page.rows)
                    if page.rows:
                        yield member(f"{holding.kind}-{number:05}.jsonl", _lines(page))
                    async for picture in self._files(page):
                        yield picture
        yield member("manifest.json", json.dumps(self._manifest(), indent=2).encode())
        yield END

    async def _files(self, page: Page) -> AsyncIterator[bytes]:
        for name, key in page.files.items():
            try:
                body = await self.pictures.get(key)
            except PictureLost:  # it was removed since its row was read
                self._lost += 1
                continue
            self._counts[f"files in {name.partition('/')[0]}/"] += 1
            yield member(_with_ending(name, body), body)

    def _manifest(self) -> dict[str, Any]:
        return {
            "format": "bowerbird-export/1",
            "software": __version__,
            "made_at": int(time.time()),
            "tenant": self.export.tenant,
            "person": self.export.person,
            "counts": dict(self._counts),
            "removed_while_it_was_made": self._lost,
            "left_out": [{"what": what, "why": why} for what, why in LEFT_OUT],
        }


def member(name: str, body: bytes) -> bytes:
    """One file of a tar: its header, its bytes, and what fills the last block."""
    facts = tarfile.TarInfo(name)
    facts.size, facts.mode, facts.mtime = len(body), 0o600, int(time.time())
    return facts.tobuf(tarfile.PAX_FORMAT) + body + bytes(-len(body) % tarfile.BLOCKSIZE)


def _lines(page: Page) -> bytes:
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in page.rows)


def _with_ending(name: str, body: bytes) -> str:
    """The name as its bytes say it should end: what is stored is named by who drew it."""
    if name.startswith("files/"):
        return name
    found = [ending for mark, ending in _ENDINGS.items() if body.startswith(mark)]
    return f"{name}.{found[0]}" if found else name


async def _generator(pages: AsyncIterator[Page]) -> AsyncGenerator[Page]:
    async for page in pages:
        yield page
