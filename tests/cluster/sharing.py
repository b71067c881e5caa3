"""One cluster for all workers of a test run: the first that needs it starts it, the last takes it away.

Files of tests run beside each other, each with a release of its own, since they mostly wait: for pods, for KEDA, for
a kubelet. Those marked `alone` disturb everybody (they kill kubelets, drain a node, stop the API server): such a file
waits until no other runs, and the others wait for it.
"""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from . import cluster as clusters
from .binaries import cache
from .cluster import Cluster
from .release import loaded


@contextmanager
def shared_cluster(run: str) -> Iterator[Cluster]:
    """The cluster of a run of tests, by its name; raises as `cluster.up` does."""
    users = clusters.home() / "users" / run
    me = users / str(os.getpid())
    with _locked("users.lock"):
        running = clusters.running() if users.exists() else None
        if running is None:
            running = clusters.up(lambda step: print(step, file=sys.stderr), meanwhile=loaded)
        users.mkdir(parents=True, exist_ok=True)
        me.touch()
    try:
        yield running
    finally:
        with _locked("users.lock"):
            me.unlink()
            if not any(users.iterdir()):
                clusters.down()


@contextmanager
def turn(*, alone: bool) -> Iterator[None]:
    """Beside other files of tests, or while none of them runs. Who waits to be alone keeps the door: nobody else comes
    in before."""
    with ExitStack() as inside:
        with _locked("door.lock"):
            inside.enter_context(_locked("turn.lock", fcntl.LOCK_EX if alone else fcntl.LOCK_SH))
        yield


@contextmanager
def _locked(name: str, how: int = fcntl.LOCK_EX) -> Iterator[None]:
    file = cache() / name
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as lock:  # the kernel lets go of it where a process dies
        fcntl.flock(lock, how)
        yield
