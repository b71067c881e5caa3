"""The addresses of a cluster, and the one bridge that it has outside of its machines.

    10.88.0.0/24   machines: .1 control, .11 cpu, .12 gpu; .254 is this machine's end of the bridge
    10.89.N.0/24   pods of the N-th node
    10.96.0.0/16   Services

Nothing is routed beyond: this machine forwards nothing, and changes neither its packet filter nor its default route.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

IP = shutil.which("ip") or "/sbin/ip"
BRIDGE = "bowerbird0"
NETWORK_BITS = 24
HOST_ADDRESS = "10.88.0.254"
CONTROL_ADDRESS = "10.88.0.1"
PODS = "10.89.0.0/16"
SERVICES = "10.96.0.0/16"
API_SERVICE_ADDRESS = "10.96.0.1"
DNS_ADDRESS = "10.96.0.10"


@dataclass(frozen=True, slots=True)
class Cable:
    """How a machine is connected: its address, and what `ip` is told so that it finds the pods of other nodes."""

    address: str
    routes: tuple[tuple[str, ...], ...]


def node_address(number: int) -> str:
    """The address of the N-th node, from 1."""
    return f"10.88.0.{10 + number}"


def pod_subnet(number: int) -> str:
    """Where the pods of the N-th node are."""
    return f"10.89.{number}.0/24"


def make_bridge(nodes: int) -> None:
    """The bridge, and from here a route to the pods of each node; raises CalledProcessError."""
    remove_bridge()
    _ip("link", "add", BRIDGE, "type", "bridge")
    _ip("addr", "add", f"{HOST_ADDRESS}/{NETWORK_BITS}", "dev", BRIDGE)
    _ip("link", "set", BRIDGE, "up")
    for number in range(1, nodes + 1):
        _ip("route", "add", pod_subnet(number), "via", node_address(number), "dev", BRIDGE)


def cable_of(number: int, nodes: int) -> Cable:
    """Of the N-th node, or with 0 of the control plane."""
    others = [each for each in range(1, nodes + 1) if each != number]
    return Cable(
        CONTROL_ADDRESS if number == 0 else node_address(number),
        tuple(("route", "add", pod_subnet(other), "via", node_address(other)) for other in others),
    )


def remove_bridge() -> None:
    """Takes the bridge away, its routes and the cables in it; no error where there is none.

    The kernel would take a dead machine's cable away too, when it comes to it.
    """
    for interface in Path("/sys/class/net").glob(f"{BRIDGE}*"):
        subprocess.run([IP, "link", "del", interface.name], check=False, capture_output=True)


def _ip(*arguments: str) -> None:
    subprocess.run([IP, *arguments], check=True)
