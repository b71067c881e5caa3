"""`python -m tests.cluster COMMAND`: a Kubernetes to work with, on this machine; without a command it lists them."""

from __future__ import annotations

import sys
import time

from . import cluster
from .addons import images, keda_manifests
from .binaries import build_missing, missing, program
from .chart import write_derived
from .leftovers import STEPS, leftovers
from .product_images import differing
from .release import loaded


def build() -> None:
    """Builds every program that is missing, and what is made of them."""
    build_missing()
    images()
    keda_manifests()


def up() -> None:
    """Starts a cluster; prints what a shell needs to use it."""
    if missing():
        build()
    if objection := cluster.objections():
        raise SystemExit(f"{objection[0].upper()}{objection[1:]}.")
    began = time.monotonic()
    started = cluster.up(lambda step: print(f"{time.monotonic() - began:6.1f} s  {step}", file=sys.stderr, flush=True))
    print(exports(started))


def down() -> None:
    """Takes the cluster away, whatever there is of it."""
    cluster.down()


def load() -> None:
    """Builds Bowerbird's images where something changed, and gives them to the nodes."""
    found = cluster.running()
    if found is None:
        raise SystemExit("No cluster runs here: python -m tests.cluster up.")
    loaded(found)


def rebuild() -> None:
    """Builds Bowerbird's images anew and says whether they are the same."""
    if others := differing():
        raise SystemExit(f"Built anew, these are other images: {', '.join(others)}.")
    print("built anew, every image is the same")


def status() -> None:
    """Says whether one runs."""
    found = cluster.running()
    print(exports(found) if found else "no cluster runs here")


def killed() -> None:
    """Kills a start at each of its steps, takes it away, and says whether anything is left."""
    left = leftovers()
    for step, traces in left.items():
        print(f"left of one that was killed after {step or 'its first machine'!r}:", *traces, sep="\n    ")
    if left:
        raise SystemExit("`down` does not take away everything.")
    print(f"killed at {len(STEPS)} steps of its start, a cluster leaves nothing behind `down`")


def bench() -> None:
    """Measures how long all of it takes, on a cluster of its own."""
    from .bench import bench as measure

    measure()


def wakes() -> None:
    """Measures WAKES (100) wakes of a chain that sleeps, and some of one that loads slowly; goes on where it was."""
    from .wakes import wakes as measure

    measure()


def cycles() -> None:
    """Runs CYCLES (100) cycles of SEED (1) from no pod and back, a fault each; goes on where it was."""
    from .cycles import cycles as run

    run()


def scale_downs() -> None:
    """Has ROUNDS (10) times three pods become one while the youngest draws, after one without its deletion cost."""
    from .scale_downs import scale_downs as run

    run()


def exports(running: cluster.Cluster) -> str:
    """What a shell is told to use it: the cluster, and the kubectl and helm that were built with it."""
    return f"export KUBECONFIG={running.kubeconfig} PATH={program('kubectl').parent}:{program('helm').parent}:$PATH"


COMMANDS = {
    "build": build,
    "up": up,
    "load": load,
    "rebuild": rebuild,
    "down": down,
    "leftovers": killed,
    "status": status,
    "bench": bench,
    "wakes": wakes,
    "cycles": cycles,
    "scale-downs": scale_downs,
    "chart": write_derived,
}


def main(arguments: list[str]) -> None:
    """Runs one command."""
    if len(arguments) != 1 or arguments[0] not in COMMANDS:
        raise SystemExit(f"Usage: python -m tests.cluster {' | '.join(COMMANDS)}")
    COMMANDS[arguments[0]]()


if __name__ == "__main__":
    main(sys.argv[1:])
