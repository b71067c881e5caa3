"""Files that a backend would otherwise make at every start, kept on disk: optimised graphs, compiled models, engines.

Each set of files is good for the facts it was made for (the part's digest, the runtime's version, the instruction set
or GPU, our format): they name its folder and stand in its record, with the digest of each file. Digests are compared
whenever a file is not, by inode and times, the very one that was compared before, as git's index does: hashing 15 GB at
each start would cost more than preparing saves. What is altered, truncated or foreign is made again. One process at a
time makes a set; others that want it wait, and find it. Nothing is ever seen half written.

A folder that cannot be written costs memory and time, never a start: it is said once in the log. It is safe to delete.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import platform
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from pydantic import ValidationError

from bowerbird.contracts import Contract
from bowerbird.errors import BundleInvalid

FORMAT = "1"
RECORD = "prepared.json"
CPU_FLAGS = frozenset(
    {"avx", "avx2", "fma", "f16c", "avx_vnni", "avx_vnni_int8", "amx_tile", "amx_int8", "amx_bf16", "amx_fp16"}
    | {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni", "avx512_bf16", "avx512_fp16"}
    | {"asimd", "asimddp", "asimdhp", "bf16", "i8mm", "sve", "sve2"}
)
"""What runtimes choose their kernels, and with them the packing of weights, by."""

logger = logging.getLogger(__name__)


class _File(Contract):
    bytes: int
    sha256: str
    stamp: tuple[int, int, int]


class _Record(Contract):
    facts: dict[str, str]
    files: dict[str, _File]


class PreparedFiles:
    """A folder of prepared sets, shared by all processes that may write it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._silent = False

    def find(self, facts: Mapping[str, str], make: Callable[[Path], None]) -> Path | None:
        """The folder of the set for `facts`; `make` writes its files into the empty folder it is given.

        None when it is not there and cannot be made. What `make` raises means the same, but for errors that are not
        OSError or BundleInvalid.
        """
        facts = {**facts, "format": FORMAT}
        entry = self._entry(facts)
        if _is_sound(entry, facts):
            return entry
        try:
            with self._only_one(entry):
                if not _is_sound(entry, facts):
                    _make(entry, facts, make)
        except (OSError, BundleInvalid) as error:  # where the graph is to blame, loading it plainly will say so
            self.say(str(error))
            return None
        return entry

    def existing(self, facts: Mapping[str, str]) -> Path | None:
        """The folder of the set for `facts`, only if it is there and sound."""
        facts = {**facts, "format": FORMAT}
        entry = self._entry(facts)
        return entry if _is_sound(entry, facts) else None

    def say(self, what: str) -> None:
        """One warning in this process' life, however many sets are concerned."""
        if not self._silent:
            logger.warning("nothing prepared can be kept in %s, or used: %s", self._folder, what)
        self._silent = True

    def _entry(self, facts: Mapping[str, str]) -> Path:
        return self._folder / hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]

    @contextmanager
    def _only_one(self, entry: Path) -> Iterator[None]:
        """Held by the kernel, and so given back when a process dies."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with entry.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _make(entry: Path, facts: dict[str, str], make: Callable[[Path], None]) -> None:
    """Writes beside its place and moves it there when it is complete and on disk."""
    new = entry.with_suffix(".new")
    for leftover in (new, entry):
        if leftover.exists():
            shutil.rmtree(leftover)
    new.mkdir()
    try:
        make(new)
        files = {path.name: _file(path) for path in sorted(new.iterdir())}
        (new / RECORD).write_text(_Record(facts=facts, files=files).model_dump_json())
        new.rename(entry)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise


def instruction_set() -> str:
    """The machine and those of its CPU's flags that packing depends on."""
    flags: set[str] = set()
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("flags", "Features")):
                flags = set(line.partition(":")[2].split())
                break
    return " ".join([platform.machine(), *sorted(flags & CPU_FLAGS)])


def _file(path: Path) -> _File:
    """On disk before its times are noted: what a crash left half written must not look like what was compared."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
    return _File(bytes=path.stat().st_size, sha256=_digest(path), stamp=_stamp(path))


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _stamp(path: Path) -> tuple[int, int, int]:
    facts = path.stat()
    return facts.st_ino, facts.st_mtime_ns, facts.st_ctime_ns


def _is_sound(entry: Path, facts: dict[str, str]) -> bool:
    """True when everything is there, belongs to `facts`, and is unaltered."""
    try:
        record = _Record.model_validate_json((entry / RECORD).read_bytes())
        return record.facts == facts and all(_is_same(entry / name, file) for name, file in record.files.items())
    except (OSError, ValidationError):
        return False


def _is_same(path: Path, file: _File) -> bool:
    return path.stat().st_size == file.bytes and (_stamp(path) == file.stamp or _digest(path) == file.sha256)
