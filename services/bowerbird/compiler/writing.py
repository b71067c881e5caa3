"""The folder of a bundle, written whole or not at all.

Files are staged in a hidden sibling of the target; `seal` writes `bundle.json` last, flushes everything, opens the
result with the engine's own checks, and puts it into place. A bundle that is there already changes places with it in
one moment (`_exchange`), so that whoever opens the target finds the one or the other; who is in the middle of reading
the old one notices (`Bundle.open`). A killed compile leaves a staging folder and no bundle; the next one sweeps it up.

Torch-free, so that tests can write tiny bundles by hand.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import re
import secrets
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from bowerbird.engine.bundle import MANIFEST, Bundle, FileFacts, Manifest, digest_of

AT_FDCWD, RENAME_EXCHANGE = -100, 2  # <fcntl.h> and <linux/fs.h>
CANNOT_EXCHANGE = {errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP}


class TargetOccupied(Exception):
    """The target folder holds something that is not a bundle; it is not overwritten."""


class Staging:
    """A bundle in the making, beside its target; the lock on its folder says that somebody is still at it."""

    def __init__(self, target: Path) -> None:
        if target.exists() and not (target / MANIFEST).is_file() and any(target.iterdir()):
            raise TargetOccupied(f"{target} exists and is not a bundle.")
        self.target = target
        self._place = target.resolve()  # a link goes on leading to the bundle
        prefix = f".{self._place.name}.staging-"
        self.folder = self._place.with_name(prefix + secrets.token_hex(4))
        self._place.parent.mkdir(parents=True, exist_ok=True)
        _sweep(self._place.parent, re.compile(re.escape(prefix) + "[0-9a-f]{8}"))
        self.folder.mkdir()
        self._lock = _locked(self.folder)

    def discard(self) -> None:
        """Removes what was staged; harmless after `seal`."""
        shutil.rmtree(self.folder, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def facts(self) -> dict[str, FileFacts]:
        """Size and digest of every staged file."""
        files = sorted(path for path in self.folder.iterdir() if path.name != MANIFEST)
        return {path.name: FileFacts(sha256=digest_of(path), bytes=path.stat().st_size) for path in files}

    def seal(self, manifest: Manifest) -> Bundle:
        """Writes `bundle.json`, checks the whole and puts it where it belongs; a bundle already there is replaced."""
        (self.folder / MANIFEST).write_bytes(canonical(manifest))
        for path in self.folder.iterdir():
            path.chmod(0o644)  # safetensors writes 0600; a bundle is mounted and read by other users
            _flush(path)
        _flush(self.folder)
        Bundle.open(self.folder)
        if not self._place.exists():
            self.folder.rename(self._place)
        elif not _exchange(self.folder, self._place):
            old = self.folder.with_name(self.folder.name + ".old")
            self._place.rename(old)  # until the next line there is no bundle
            self.folder.rename(self._place)
            old.rename(self.folder)
        _flush(self._place.parent)
        self.discard()
        return Bundle.open(self.target)


def now() -> int:
    """Unix seconds for `created`; SOURCE_DATE_EPOCH, where set, makes two compiles of one checkpoint one digest."""
    return int(os.environ.get("SOURCE_DATE_EPOCH") or time.time())


def canonical(manifest: Manifest) -> bytes:
    """`bundle.json`: sorted keys, one space of indentation, UTF-8, newline at the end; equal facts, equal digest."""
    document: dict[str, Any] = manifest.model_dump(mode="json")
    return (json.dumps(document, sort_keys=True, indent=1, ensure_ascii=False) + "\n").encode()


def _exchange(one: Path, other: Path) -> bool:
    """Swaps two folders in one moment: renameat2(2), for which Python has no call. False where that cannot be done.

    Linux has it since 3.15; some network file systems do not, and other systems have another call.
    """
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    if renameat2(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in CANNOT_EXCHANGE:
        return False
    raise OSError(code, os.strerror(code), str(other))


def _locked(folder: Path) -> int | None:
    """Held until it is closed, or its process dies; None where somebody holds it, or the folder is gone."""
    try:
        lock = os.open(folder, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return None
    return lock


def _sweep(parent: Path, names: re.Pattern[str]) -> None:
    """Removes what killed compiles left of this bundle."""
    for left in [path for path in parent.iterdir() if names.fullmatch(path.name)]:
        lock = _locked(left)
        if lock is not None:
            with suppress(OSError):
                shutil.rmtree(left)
            os.close(lock)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
