"""BOWERBIRD_HOME: one stack at a time works in it.

Two stacks in one home would write the same logs and race for the same certificate. The lock is the kernel's (`flock`),
so that it ends with its holder and none is ever stale; the file says who holds it.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from os import getpid
from pathlib import Path

from bowerbird.embedded.facts import HomeLocked


@contextmanager
def locked(home: Path) -> Iterator[None]:
    """Holds `home` (made when missing) for this process; raises HomeLocked, naming the holder's pid."""
    home.mkdir(parents=True, exist_ok=True)
    with (home / "up.lock").open("a+", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            pid = lock.read().strip() or "unknown"
            raise HomeLocked(
                f"Process {pid} already runs `bowerbird up` in {home}. "
                "Stop it, or set BOWERBIRD_HOME to another folder."
            ) from error
        lock.truncate(0)
        lock.write(f"{getpid()}\n")
        lock.flush()
        yield
