"""Credentials in files, as Kubernetes mounts a Secret: looked at when they are used, and read again when they changed.

The kubelet replaces a mounted Secret as a whole, by one symbolic link (`..data`), within a minute or so of its change
in the cluster. What is read while the link is swapped is read once more, so that no half of it is older than the rest.
What cannot be used changes nothing: what was made of the files before goes on, and the log says why.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from stat import S_ISREG
from threading import Lock
from time import monotonic
from typing import Generic, TypeVar

from bowerbird.errors import CertificateInvalid

AGAIN_SECONDS = 30.0
"""Until files that could not be used are tried again, unchanged: a certificate that is valid in a moment, say."""

Made = TypeVar("Made")
Mark = tuple[tuple[str, int, int, int], ...]

logger = logging.getLogger(__name__)


class CredentialsUnusable(Exception):
    """What files hold is no credential that can be used; the message names the file, and quotes nothing of it."""


class Followed(Generic[Made]):
    """What `make` makes of files (or of all files in folders), made anew when one of them is another than before.

    `make` raises CredentialsUnusable, CertificateInvalid or OSError where that cannot be: to who constructs this, and
    to nobody later. Used by many threads at once.
    """

    def __init__(self, make: Callable[[], Made], *paths: Path) -> None:
        self._make = make
        self._paths = paths
        self._lock = Lock()
        self._again_at = math.inf
        self._read = mark_of(*paths)
        self._made = make()

    def now(self) -> Made:
        """What was made of the files as they are, or of those before where they cannot be used."""
        with self._lock:
            is_due = monotonic() > self._again_at
            while (mark := mark_of(*self._paths)) != self._read or is_due:
                self._read, is_due = mark, False
                self._renew()
            return self._made

    def _renew(self) -> None:
        try:
            self._made = self._make()
        except (CredentialsUnusable, CertificateInvalid, OSError) as error:
            self._again_at = monotonic() + AGAIN_SECONDS
            logger.warning("new credentials cannot be used; those before go on", extra={"reason": str(error)})
        else:
            self._again_at = math.inf
            logger.info("credentials were read again", extra={"files": [str(each) for each in self._paths]})


def mark_of(*paths: Path) -> Mark:
    """What changes when a file does, or one in a folder: for each its path, inode, size and time of change."""
    return tuple(sorted(mark for path in paths for mark in _marks(path)))


def _marks(path: Path) -> Iterator[tuple[str, int, int, int]]:
    with suppress(OSError):  # one that cannot be looked at has no mark
        for file in path.iterdir() if path.is_dir() else (path,):
            found = file.stat()
            if S_ISREG(found.st_mode):
                yield str(file), found.st_ino, found.st_size, found.st_mtime_ns
