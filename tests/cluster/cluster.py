"""The cluster as a whole: started from an empty folder, found again, taken away.

Only one runs on a machine at a time: its bridge and its addresses have one name. `down` asks nobody how far an earlier
start came; it takes away whatever there is.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from . import control_plane, node
from .access import write_kubeconfig
from .addons import DNS, images, keda_manifests
from .binaries import cache, missing, program, search_path
from .certificates import Authority
from .machine import Machine, find, remove_cgroups, start
from .network import cable_of, make_bridge, remove_bridge
from .node import CONTAINERD_SOCKET, NODES
from .objects import NotRead, read

Tell = Callable[[str], None]
"""Hears of each step of a start."""

READY_SECONDS = 120.0
POLL_SECONDS = 0.2
DEBIAN = {
    "runc": "runc",
    "/usr/lib/cni/ptp": "containernetworking-plugins",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "ip": "iproute2",
}
"""What must be installed -> the Debian package that has it."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """One that runs."""

    folder: Path
    machines: dict[str, Machine]
    """None of a cluster that is not ours."""
    kubeconfig: Path
    """Of an administrator."""

    @property
    def environment(self) -> dict[str, str]:
        """What kubectl and helm need."""
        return {**os.environ, "KUBECONFIG": str(self.kubeconfig), "PATH": search_path()}

    def kubectl(self, *arguments: str, manifest: str | None = None) -> str:
        """What kubectl printed; raises CalledProcessError. `manifest` goes to its standard input."""
        return self._run(program("kubectl"), *arguments, text=manifest)

    def read(self, path: str, **query: str) -> Any:
        """What the API server has at a path, parsed; cheap enough to look again and again. Raises NotRead."""
        return read(self.kubeconfig, path, query)

    def helm(self, *arguments: str) -> str:
        """What helm printed; raises CalledProcessError."""
        return self._run(program("helm"), *arguments)

    def load(self, archive: Path, nodes: Sequence[str] = ("cpu", "gpu")) -> None:
        """Gives the nodes an image, so that none is pulled."""
        with ThreadPoolExecutor() as threads:
            for imported in [threads.submit(import_image, self.machines[name], archive) for name in nodes]:
                imported.result()

    def until(self, fact: Callable[[], bool], what: str, seconds: float = READY_SECONDS) -> None:
        """Returns when it is a fact; raises TimeoutError naming `what`."""
        deadline = time.monotonic() + seconds
        while not holds(fact):
            if time.monotonic() > deadline:
                raise TimeoutError(f"after {seconds:.0f} s: not {what}")
            time.sleep(POLL_SECONDS)

    def _run(self, executable: Path, *arguments: str, text: str | None = None) -> str:
        done = subprocess.run(
            [str(executable), *arguments], env=self.environment, input=text, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise CommandFailed(f"{executable.name} {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout


class CommandFailed(Exception):
    """A command of a cluster's administrator failed; the message is what it said."""


def holds(fact: Callable[[], bool]) -> bool:
    """Whether it is a fact; not while what would say so cannot be asked."""
    try:
        return fact()
    except (CommandFailed, NotRead):
        return False


def home() -> Path:
    """Where the cluster of this machine is."""
    return cache() / "run"


def objections() -> str | None:
    """Why no cluster can run here, in one line; None where one can."""
    if os.uname().sysname != "Linux" or os.geteuid() != 0:
        return "a cluster needs root on Linux"
    lacking = sorted({package for needed, package in DEBIAN.items() if not shutil.which(needed)})
    if lacking:
        return f"a cluster needs Debian's {', '.join(lacking)}: apt-get install {' '.join(lacking)}"
    if unbuilt := missing():
        return f"a cluster needs {', '.join(unbuilt)}: python -m tests.cluster build"
    return None


def running() -> Cluster | None:
    """The cluster that runs here, if all of its machines do."""
    machines = {each.name: each for each in find(home()) if each.init}
    wanted = {"control", *(each.name for each in NODES)}
    return Cluster(home(), machines, home() / "kubeconfig") if machines.keys() == wanted else None


def up(
    tell: Tell, meanwhile: Callable[[Cluster], None] = lambda _: None, kubelet: Mapping[str, Any] | None = None
) -> Cluster:
    """Starts a cluster in the place of whatever was there; `tell` hears of each step, and `kubelet` is what its nodes
    are told besides. KEDA's pods are asked for the first time when they are 20 s old: `meanwhile` is done while they
    come. Raises TimeoutError."""
    down()
    folder = home()
    folder.mkdir(parents=True)
    authority = Authority(folder)
    make_bridge(len(NODES))
    machines = {"control": _start_control(folder / "control", authority)}
    kubeconfig = write_kubeconfig(folder / "kubeconfig", authority, "admin", "system:masters")
    for each in NODES:
        machines[each.name] = _start_node(each, folder / each.name, authority, kubelet or {})
    cluster = Cluster(folder, machines, kubeconfig)
    cluster.until(partial(_answers, cluster), "an API server that answers")
    tell("the API server answers")
    load_images(cluster)
    cluster.kubectl("apply", "-f", str(DNS))
    cluster.until(partial(_ready_nodes, cluster), "two nodes that are Ready")
    tell("both nodes are Ready")
    cluster.kubectl("apply", "--server-side", "-f", str(keda_manifests()))
    meanwhile(cluster)
    cluster.until(partial(_addons_available, cluster), "cluster DNS and KEDA that are available")
    tell("cluster DNS and KEDA are available")
    return cluster


@contextmanager
def at_hand(kubelet: Mapping[str, Any] | None = None) -> Iterator[Cluster]:
    """The cluster that runs here, or one that is started for this and taken away after it."""
    if found := running():
        yield found
        return
    try:
        yield up(lambda step: print(step, file=sys.stderr, flush=True), kubelet=kubelet)
    finally:
        down()


def down() -> None:
    """Takes away the cluster of this machine, and what a crashed run left of one."""
    for machine in find(home()):
        machine.kill()
    remove_bridge()
    remove_cgroups()
    with ThreadPoolExecutor() as threads:  # layers of images, each on each node: a disk is asked for many at once
        list(threads.map(partial(shutil.rmtree, ignore_errors=True), home().glob("*/var/lib/containerd/*/snapshots/*")))
    shutil.rmtree(home(), ignore_errors=True)


def load_images(cluster: Cluster) -> None:
    """Every node gets the images that its pods are made of; none is ever pulled."""
    with ThreadPoolExecutor() as threads:
        loads = [threads.submit(cluster.load, archive, [each.name]) for each in NODES for archive in images()]
        for load in loads:
            load.result()


def import_image(machine: Machine, archive: Path) -> None:
    """Imports an archive into a node's containerd, once it answers; raises CalledProcessError."""
    ctr: list[str | Path] = [program("ctr"), "--address", CONTAINERD_SOCKET, "--namespace", "k8s.io"]
    deadline = time.monotonic() + READY_SECONDS
    while subprocess.run(machine.command(*ctr, "version"), capture_output=True, check=False).returncode:
        if time.monotonic() > deadline:
            raise TimeoutError(f"containerd on {machine.name} does not answer")
        time.sleep(POLL_SECONDS)
    machine.run(*ctr, "images", "import", archive)


def _start_control(folder: Path, authority: Authority) -> Machine:
    folder.mkdir(parents=True)
    return start("control", folder, cable_of(0, len(NODES)), control_plane.services(folder, authority))


def _start_node(each: node.Node, folder: Path, authority: Authority, kubelet: Mapping[str, Any]) -> Machine:
    folder.mkdir(parents=True)
    return start(each.name, folder, cable_of(each.number, len(NODES)), node.services(each, folder, authority, kubelet))


def _answers(cluster: Cluster) -> bool:
    return cluster.kubectl("get", "--raw", "/readyz") == "ok"


def _ready_nodes(cluster: Cluster) -> bool:
    path = '{.items[*].status.conditions[?(@.type=="Ready")].status}'
    return cluster.kubectl("get", "nodes", "-o", f"jsonpath={path}").split() == ["True"] * len(NODES)


def _addons_available(cluster: Cluster) -> bool:
    for namespace in ("kube-system", "keda"):
        path = '{.items[*].status.conditions[?(@.type=="Available")].status}'
        states = cluster.kubectl("get", "deployments", "-n", namespace, "-o", f"jsonpath={path}").split()
        if not states or set(states) != {"True"}:
            return False
    path = '{.status.conditions[?(@.type=="Available")].status}'
    return cluster.kubectl("get", "apiservice", "v1beta1.external.metrics.k8s.io", "-o", f"jsonpath={path}") == "True"
