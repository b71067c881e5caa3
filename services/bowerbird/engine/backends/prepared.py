"""Files that a backend would otherwise make at every start, kept on disk: optimised graphs, compiled models, engines.

Each set of files is good for the facts it was made for (the part's digest, the runtime's version, the instruction set
or GPU, our format): they name its folder and stand in its record, with the digest of each file. Digests are compared
whenever a file is not, by inode and times, the very one that was compared before, as git's index does: hashing 15 GB at
each start would cost more than preparing saves. What is altered, truncated or foreign is made again. One process at a
time makes a set; others that want it wait, and find it. Nothing is ever seen half written.

A folder that cannot be written costs memory and time, never a start: it is said once in the log. It is safe to delete.

Sets of runtimes and bundles of the past are swept out whenever a new one was made, which is when the folder grows:
those that no process has used for KEEP_SECONDS, and the least recently used beyond MAX_BYTES. Whoever uses a set holds
a shared lock (flock) on its record for as long as it lives, and what is locked is never swept out. That is for files
that are opened later (a session that the first lone row loads): what is mapped already would even survive, since Linux
keeps an unlinked file until its last mapping is gone.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import platform
import shutil
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from pydantic import ValidationError

from bowerbird.contracts import Contract
from bowerbird.errors import BundleInvalid

FORMAT = "1"
RECORD = "prepared.json"
KEEP_SECONDS = 30 * 24 * 3600
MAX_BYTES = 32 * 1024**3
"""Two bundles of Stable Diffusion XL's size, packed in float32."""
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
    """A folder of prepared sets, shared by all processes that may write it; only a `swept` one loses old sets."""

    def __init__(self, folder: Path, *, swept: bool = True, max_bytes: int = MAX_BYTES) -> None:
        self._folder = folder
        self._swept = swept
        self._max_bytes = max_bytes
        self._silent = False
        self._used: dict[Path, int] = {}
        weakref.finalize(self, _close, self._used)

    def find(self, facts: Mapping[str, str], make: Callable[[Path], None]) -> Path | None:
        """The folder of the set for `facts`; `make` writes its files into the empty folder it is given.

        None when it is not there and cannot be made. What `make` raises means the same, but for errors that are not
        OSError or BundleInvalid.
        """
        facts = {**facts, "format": FORMAT}
        entry = self._entry(facts)
        if self._use(entry, facts):
            return entry
        made = False
        try:
            with self._only_one(entry):
                if not self._use(entry, facts):
                    _make(entry, facts, make)
                    self._use(entry, facts)
                    made = True
        except (OSError, BundleInvalid) as error:  # where the graph is to blame, loading it plainly will say so
            self.say(str(error))
            return None
        if made and self._swept:
            with suppress(OSError):  # another process sweeps too, or this one may not
                self._sweep()
        return entry

    def existing(self, facts: Mapping[str, str]) -> Path | None:
        """The folder of the set for `facts`, only if it is there and sound."""
        facts = {**facts, "format": FORMAT}
        entry = self._entry(facts)
        return entry if self._use(entry, facts) else None

    def say(self, what: str) -> None:
        """One warning in this process' life, however many sets are concerned."""
        if not self._silent:
            logger.warning("nothing prepared can be kept in %s, or used: %s", self._folder, what)
        self._silent = True

    def _entry(self, facts: Mapping[str, str]) -> Path:
        return self._folder / hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]

    def _use(self, entry: Path, facts: dict[str, str]) -> bool:
        """True when the set is sound; then it is locked, and known to be in use now."""
        try:
            lock = os.open(entry / RECORD, os.O_RDONLY)
        except OSError:
            return False
        with suppress(OSError):  # a file system without locks, on which nothing is swept out either
            fcntl.flock(lock, fcntl.LOCK_SH)  # waits for whoever is sweeping it out, after which it is not sound
        if not _is_sound(entry, facts) or os.fstat(lock).st_nlink == 0:
            os.close(lock)
            return False
        with suppress(OSError):  # a folder that is mounted read-only is swept by nobody
            os.utime(entry / RECORD)
        if (before := self._used.get(entry)) is not None:
            os.close(before)
        self._used[entry] = lock
        return True

    @contextmanager
    def _only_one(self, entry: Path) -> Iterator[None]:
        """Held by the kernel, and so given back when a process dies."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with _lock_of(entry).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _sweep(self) -> None:
        """Oldest first: what nobody has used for long, then what is too much; and what a killed process left."""
        for path in self._folder.glob("*.new"):
            _remove_left(path)
        sets = sorted((path.stat().st_mtime, path.parent) for path in self._folder.glob(f"*/{RECORD}"))
        sizes = {entry: sum(path.stat().st_size for path in entry.iterdir()) for _, entry in sets}
        total = sum(sizes.values())
        for used, entry in sets:
            if (time.time() - used > KEEP_SECONDS or total > self._max_bytes) and _remove_unused(entry):
                total -= sizes[entry]
                logger.info("removed %s: %d bytes, prepared for a runtime or a bundle of the past", entry, sizes[entry])


def _close(locks: dict[Path, int]) -> None:
    for lock in locks.values():
        os.close(lock)


def _lock_of(entry: Path) -> Path:
    """Stays when the set goes: unlinked, it could be held by one process while another makes and holds a new one."""
    return entry.with_suffix(".lock")


def _remove_unused(entry: Path) -> bool:
    """Removes a set, unless somebody uses it or makes it again; what is left of it when this is killed is swept too."""
    with _lock_of(entry).open("w") as making, (entry / RECORD).open() as using:
        try:
            for lock in (making, using):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        shutil.rmtree(entry.rename(entry.with_suffix(".new")))
    return True


def _remove_left(new: Path) -> None:
    """Removes a folder that was being filled or removed, unless it still is."""
    with _lock_of(new).open("w") as lock, suppress(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(new)


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
