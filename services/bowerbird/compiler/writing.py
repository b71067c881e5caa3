"""The folder of a bundle, written whole or not at all.

Files are staged in a hidden sibling of the target; `seal` writes `bundle.json` last, flushes everything, opens the
result with the engine's own checks, and renames it into place. A killed compile leaves a staging folder and no bundle.

Torch-free, so that tests can write tiny bundles by hand.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

from bowerbird.engine.bundle import MANIFEST, Bundle, FileFacts, Manifest, digest_of


class TargetOccupied(Exception):
    """The target folder holds something that is not a bundle; it is not overwritten."""


class Staging:
    """A bundle in the making, beside its target."""

    def __init__(self, target: Path) -> None:
        if target.exists() and not (target / MANIFEST).is_file() and any(target.iterdir()):
            raise TargetOccupied(f"{target} exists and is not a bundle.")
        self.target = target
        self.folder = target.with_name(f".{target.name}.staging-{os.getpid()}")
        self.folder.mkdir(parents=True)

    def discard(self) -> None:
        """Removes what was staged; harmless after `seal`."""
        shutil.rmtree(self.folder, ignore_errors=True)

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
        if self.target.exists():
            old = self.folder.with_name(self.folder.name + ".old")
            self.target.rename(old)
            self.folder.rename(self.target)
            shutil.rmtree(old)
        else:
            self.folder.rename(self.target)
        _flush(self.target.parent)
        return Bundle.open(self.target)


def now() -> int:
    """Unix seconds for `created`; SOURCE_DATE_EPOCH, where set, makes two compiles of one checkpoint one digest."""
    return int(os.environ.get("SOURCE_DATE_EPOCH") or time.time())


def canonical(manifest: Manifest) -> bytes:
    """`bundle.json`: sorted keys, one space of indentation, UTF-8, newline at the end; equal facts, equal digest."""
    document: dict[str, Any] = manifest.model_dump(mode="json")
    return (json.dumps(document, sort_keys=True, indent=1, ensure_ascii=False) + "\n").encode()


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
