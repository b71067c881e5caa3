"""What a key looks like: `bb_`, 43 characters of 256 random bits, and 6 of a checksum, in base 62.

The mark lets people and secret scanners see what they found; the checksum lets a scanner tell a key from a look-alike
offline (as GitHub's tokens do), and lets the gateway refuse a made-up or mistyped key without asking the database. A
key is 256 bits from the operating system, so nobody can search for the one behind a digest: a plain SHA-256 is kept,
where a slow hash would guard a password that a person chose, and cost every request its time.

The text of a key exists in one answer of the API and in its holder's hands. Here it is a local variable.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import zlib
from dataclasses import dataclass, field

MARK = "bb_"
PREFIX_CHARACTERS = 9
"""Of a key that are kept and shown, to tell keys apart: 36 of its 256 bits."""
SECRET_BYTES = 32

_SECRET_CHARACTERS = 43
_CHECKSUM_CHARACTERS = 6
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_KEY = re.compile(rf"{MARK}[0-9A-Za-z]{{{_SECRET_CHARACTERS + _CHECKSUM_CHARACTERS}}}")


@dataclass(frozen=True, slots=True)
class FreshKey:
    """A key that was just made; `text` is shown once and kept nowhere."""

    text: str = field(repr=False)
    prefix: str
    digest: bytes


def make_key() -> FreshKey:
    """A new random key."""
    number = int.from_bytes(secrets.token_bytes(SECRET_BYTES), "big")
    body = MARK + _base62(number, _SECRET_CHARACTERS)
    text = body + _checksum(body)
    return FreshKey(text, text[:PREFIX_CHARACTERS], digest_of(text))


def is_key(credential: str) -> bool:
    """Whether a credential has the form and the checksum of our keys; says nothing about whether it was ever made."""
    if not _KEY.fullmatch(credential):
        return False
    body, checksum = credential[:-_CHECKSUM_CHARACTERS], credential[-_CHECKSUM_CHARACTERS:]
    return _checksum(body) == checksum


def digest_of(credential: str) -> bytes:
    """SHA-256; what is kept and looked for instead of a credential."""
    return hashlib.sha256(credential.encode("utf-8", "surrogateescape")).digest()


def _checksum(body: str) -> str:
    return _base62(zlib.crc32(body.encode("ascii")), _CHECKSUM_CHARACTERS)


def _base62(number: int, characters: int) -> str:
    digits = []
    for _ in range(characters):
        number, digit = divmod(number, len(_DIGITS))
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))
