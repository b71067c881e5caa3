"""What a backup is made of, and how a row becomes a line: JSON, with bytes as base64."""

from __future__ import annotations

import gzip
import hashlib
import json
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

from bowerbird.errors import BackupInvalid

FORMAT = 1
BACKUPS, PICTURES = "backups/", "pictures/"
PICTURE_LIST = "pictures"
"""Called as a table, and no table is called so."""
MANIFEST = "manifest.json"
PART_BYTES = 8 * 1024 * 1024
"""Of lines before they are compressed: a part is held in memory."""


class Part(BaseModel):
    """A file of rows."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: str
    digest: str
    """sha256:…, of the file."""


class Rows(BaseModel):
    """A table, or the list of pictures."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    columns: list[str]
    count: int
    parts: list[Part]


class Manifest(BaseModel):
    """A backup: there is one when this file is there."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int = FORMAT
    name: str
    release: str
    revision: str
    """Of the tables, as `records.migrations` numbers them."""
    tables: dict[str, Rows]
    pictures: Rows

    @property
    def rows(self) -> int:
        """In all tables."""
        return sum(each.count for each in self.tables.values())


def name_of(moment: datetime) -> str:
    """`20261122T031500Z`: names sort as moments do."""
    return moment.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")


def manifest_key(name: str) -> str:
    """Where the manifest of a backup lies."""
    return f"{BACKUPS}{name}/{MANIFEST}"


def read_manifest(raw: bytes) -> Manifest:
    """Raises BackupInvalid for a file that a later release has written, or nobody."""
    try:
        stated = json.loads(raw).get("format")
        if stated != FORMAT:
            raise BackupInvalid(f"The backup has format {stated}; this release reads {FORMAT}. Use a later release.")
        return Manifest.model_validate_json(raw)
    except (ValueError, AttributeError) as error:
        raise BackupInvalid(f"The backup's {MANIFEST} is none.") from error


def packed(lines: Iterable[bytes]) -> bytes:
    """A part's file; the same lines give the same file."""
    return gzip.compress(b"".join(lines), compresslevel=6, mtime=0)


def unpacked(part: Part, raw: bytes) -> Iterator[list[Any]]:
    """The rows of a part; raises BackupInvalid where it is not the file that was written."""
    if digest_of(raw) != part.digest:
        raise BackupInvalid(f"{part.key} is not the file that was written: expected {part.digest}.")
    return map(row_of, gzip.decompress(raw).splitlines())


def digest_of(raw: bytes) -> str:
    """sha256:…"""
    return "sha256:" + hashlib.sha256(raw).hexdigest()


def line_of(row: Sequence[Any]) -> bytes:
    """A row; floats and whole numbers come back exactly."""
    return json.dumps(list(row), ensure_ascii=True, default=_bytes).encode() + b"\n"


def row_of(line: bytes) -> list[Any]:
    """What `line_of` was given."""
    row: list[Any] = json.loads(line)
    return [b64decode(each["base64"]) if isinstance(each, dict) else each for each in row]


def _bytes(value: object) -> dict[str, str]:
    if isinstance(value, bytes | memoryview):
        return {"base64": b64encode(value).decode()}
    raise TypeError(f"a column holds {type(value).__name__}, which no backup knows")
