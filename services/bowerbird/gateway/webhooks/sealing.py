"""Signing secrets as they lie in the database: sealed with a key that is not there.

A signature needs the secret itself, so that a digest, as of access keys, will not do. It is encrypted with AES-256-GCM
(NIST SP 800-38D; 96 random bits as nonce) under a key of `BOWERBIRD_WEBHOOK_KEYS`, or, where one gateway has its
database in its home, of a file beside it that nobody else may read. Who has a dump or a backup of the database has
nothing to sign with; who has the home as well, or the gateway's environment, has. A sealed secret is bound to its
endpoint: moved to another row, it does not open.

Of several keys the first seals and all open, so that a key can be replaced: put the new one first, and rotate.
The library is imported with the first secret: it takes six megabytes, and most gateways have no webhooks.
"""

from __future__ import annotations

import base64
import binascii
import os
import secrets
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
KEY_FILE = "webhooks.key"
_NONCE_BYTES = 12


class SealBroken(Exception):
    """None of the keys opens it: it was sealed with another, or is another endpoint's."""


class Sealer:
    """Seals with the first key, opens with any."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = keys

    def replace_keys(self, keys: Sequence[bytes]) -> None:
        """From now on the first of these seals, and all of them open."""
        self._keys = keys
        self.__dict__.pop("_ciphers", None)  # made of the keys when they are first needed

    @cached_property
    def _ciphers(self) -> list[AESGCM]:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        return [AESGCM(key) for key in self._keys]

    def seal(self, secret: bytes, endpoint_id: str) -> bytes:
        """The nonce, and what it makes of the secret of this endpoint."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._ciphers[0].encrypt(nonce, secret, endpoint_id.encode())

    def open(self, sealed: bytes, endpoint_id: str) -> bytes:
        """The secret again; raises SealBroken."""
        from cryptography.exceptions import InvalidTag

        for cipher in self._ciphers:
            try:
                return cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], endpoint_id.encode())
            except InvalidTag:
                continue
        raise SealBroken


def read_keys(stated: Sequence[str]) -> list[bytes]:
    """Keys of the settings; raises SystemExit with a sentence for one that is none."""
    keys = []
    for number, each in enumerate(stated, start=1):
        try:
            key = base64.b64decode(each, validate=True)
        except binascii.Error:
            key = b""
        if len(key) != KEY_BYTES:
            raise SystemExit(f"BOWERBIRD_WEBHOOK_KEYS: number {number} is not the base64 of {KEY_BYTES} bytes.")
        keys.append(key)
    return keys


def key_of_home(home: Path) -> bytes:
    """The key in `home`, made when there is none; only its owner may read the file.

    One that is there is read and nothing written: a gateway that died on a full disk must be able to start on it.
    """
    file = home / KEY_FILE
    if not file.exists():
        _make_key(file)
    key = file.read_bytes()
    if len(key) != KEY_BYTES:
        raise SystemExit(f"{file} is not a key of {KEY_BYTES} bytes. Put it back, or delete it and rotate all secrets.")
    return key


def _make_key(file: Path) -> None:
    """Whole or not at all, and never over one that somebody else has made meanwhile."""
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f"{file.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as writing:
            writing.write(secrets.token_bytes(KEY_BYTES))
            writing.flush()
            os.fsync(writing.fileno())
        with suppress(FileExistsError):
            os.link(draft, file)
    finally:
        draft.unlink(missing_ok=True)
