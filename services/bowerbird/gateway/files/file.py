"""What a file is, which bounds it has, and what may be its name."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import quote

MAX_FILE_BYTES = 200 * 1024**2
"""Of an upload, as OpenAI bounds the input of a batch."""
PART_BYTES = 4 * 1024**2
"""Of a part: what one upload, one download or one erased line holds in memory, and little enough to be put at once."""
MAX_NAME_CHARACTERS = 255
USUAL_SECONDS = 30 * 86_400
"""How long a file is kept whose upload says nothing of it."""
NAMELESS = "upload.jsonl"

_NOT_IN_A_TOKEN = re.compile(r"[^A-Za-z0-9._ -]")
_SEPARATORS = re.compile(r"[/\\]")


class Purpose(StrEnum):
    """What a file is for."""

    BATCH = "batch"
    """Lines that a tenant uploaded."""
    BATCH_OUTPUT = "batch_output"
    """What became of such lines."""


@dataclass(frozen=True, slots=True)
class File:
    """A file that is ready."""

    id: str
    tenant: str
    purpose: Purpose
    filename: str
    bytes: int
    lines: int
    created_ms: int
    expires_ms: int | None


def safe_name(stated: str) -> str:
    """A name that is shown and nothing else: its last step, without what controls a terminal or the order of text.

    Nothing is ever opened under it, and no header holds it as it is (`content_disposition`).
    """
    last = _SEPARATORS.split(unicodedata.normalize("NFC", stated))[-1]
    shown = "".join(each for each in last if unicodedata.category(each)[0] != "C").strip()
    return shown[:MAX_NAME_CHARACTERS] if shown.strip(". ") else NAMELESS


def content_disposition(filename: str) -> str:
    """A download under this name (RFC 6266): as letters that every client reads, and exactly (RFC 8187)."""
    plain = _NOT_IN_A_TOKEN.sub("_", filename)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(filename, safe='')}"
