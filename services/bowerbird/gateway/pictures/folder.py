"""Pictures as files of one folder, which replicas on one machine (or one shared volume) may share.

A file appears under its name whole and durable: written beside (`.incoming/`), synced, renamed, its folder synced; one
that need not last, whole and without a sync. The store of the library that speaks S3 can do folders too, but it neither
syncs nor shows what an interrupted write left, and nothing could then remove it.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from bowerbird.errors import PictureLost
from bowerbird.gateway.pictures.store import checked, unavailable

INCOMING = ".incoming"
UNFINISHED_SECONDS = 3600.0
"""No put takes this long; one that does fails, because its file is gone."""
_RENAMES = 10


class FolderPictures:
    """A picture store in `root`, made when missing."""

    def __init__(self, root: Path) -> None:
        self._root = root
        (root / INCOMING).mkdir(parents=True, exist_ok=True)

    async def put(self, key: str, body: bytes, *, lasting: bool = True) -> None:
        """Keeps `body` as a file."""
        try:
            await asyncio.to_thread(self._write, self._root / checked(key), body, lasting)
        except OSError as error:
            raise unavailable() from error

    async def get(self, key: str) -> bytes:
        """The file's bytes."""
        try:
            return await asyncio.to_thread((self._root / checked(key)).read_bytes)
        except FileNotFoundError as error:
            raise PictureLost("A stored picture is gone.") from error
        except OSError as error:
            raise unavailable() from error

    async def delete(self, keys: Iterable[str]) -> None:
        """Removes the files, and folders that are empty then."""
        try:
            await asyncio.to_thread(self._remove, [self._root / checked(key) for key in keys])
        except OSError as error:
            raise unavailable() from error

    async def keys(self, prefix: str) -> AsyncGenerator[str]:
        """The files below a folder, as they were when the listing began or later."""
        try:
            found = await asyncio.to_thread(lambda: list(self._files(self._root / checked(prefix.rstrip("/")))))
        except OSError as error:
            raise unavailable() from error
        for file in found:
            yield file.relative_to(self._root).as_posix()

    async def remove_unfinished(self) -> int:
        """Removes drafts that are older than any put."""
        before = time.time() - UNFINISHED_SECONDS
        try:
            return await asyncio.to_thread(self._remove_drafts, before)
        except OSError as error:
            raise unavailable() from error

    def _write(self, file: Path, body: bytes, lasting: bool) -> None:
        draft = self._root / INCOMING / secrets.token_hex(16)
        try:
            with draft.open("xb") as opened:
                opened.write(body)
                opened.flush()
                if lasting:
                    os.fsync(opened.fileno())
            self._rename(draft, file)
        finally:
            draft.unlink(missing_ok=True)
        for folder in [file.parent, *file.parent.parents] if lasting else ():
            _sync(folder)
            if folder == self._root:
                break

    def _rename(self, draft: Path, file: Path) -> None:
        """Several times, because a sweep may remove the empty folder between its making and its use."""
        for _ in range(_RENAMES):
            try:
                file.parent.mkdir(parents=True, exist_ok=True)
                draft.rename(file)
            except (FileNotFoundError, FileExistsError):  # mkdir found it, and it was gone when it looked again
                if not draft.exists():
                    raise
            else:
                return
        raise FileNotFoundError(f"The folder of {file.name} is removed again and again")

    def _remove(self, files: Iterable[Path]) -> None:
        for file in files:
            file.unlink(missing_ok=True)
            for folder in [file.parent, *file.parent.parents]:
                if folder == self._root or not _removed(folder):
                    break

    def _files(self, folder: Path) -> Iterator[Path]:
        try:
            entries = list(os.scandir(folder))
        except FileNotFoundError:
            return
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from self._files(Path(entry.path))
            else:
                yield Path(entry.path)

    def _remove_drafts(self, before: float) -> int:
        removed = 0
        for draft in (self._root / INCOMING).iterdir():
            with suppress(FileNotFoundError):  # it was finished, or another replica removed it
                if draft.stat().st_mtime < before:
                    draft.unlink()
                    removed += 1
        return removed


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _removed(folder: Path) -> bool:
    """True when the folder is gone; False when something is in it."""
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
