"""What an embedded stack consists of: the five processes, their commands, addresses and environment.

`supervisor` starts what `embedded_stack` lists. The stages bind loopback on ports of the operating system's choice;
only the gateway's address is for people. Each stage is `bentoml serve`, exactly as in its container.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from bowerbird.embedded.ports import free_ports, listening
from bowerbird.settings import Settings

LOOPBACK = "127.0.0.1"

STAGES = {
    "safety": "bowerbird.safety.service:Safety",
    "text-to-image": "bowerbird.text_to_image.service:TextToImage",
    "animation": "bowerbird.animation.service:Animation",
    "curation": "bowerbird.curation.service:Curation",
}
"""Each model service's name and what `bentoml serve` is given."""

ANIMATION_NICENESS = 5
"""Of clips beside stills on one machine: a quarter of the processors' time where both compute (sched(7))."""

WORKER_MODULE = "_bentoml_impl.worker.service"
"""What stands in the command line of the process in which a `bentoml serve` really serves."""


@dataclass(frozen=True, slots=True)
class Service:
    """One process of the stack, before it is started."""

    name: str
    url: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    worker_module: str | None = None
    """Set when the process only supervises: the module by which its worker is recognised."""
    descriptors: tuple[int, ...] = ()
    """Open files of this process that it inherits."""


@dataclass(frozen=True, slots=True)
class Stack:
    """The gateway, the stages it asks, and where their state lives."""

    gateway: Service
    stages: tuple[Service, ...]
    home: Path
    listener: socket.socket | None = None
    """Where the gateway listens, open from before its start until the stack stops: who comes, or comes again, while it
    is restarted waits there, so that a client's own retry succeeds."""

    @property
    def services(self) -> tuple[Service, ...]:
        """All of them, the gateway first."""
        return (self.gateway, *self.stages)

    @property
    def logs(self) -> Path:
        """The folder of their logs, one file a service."""
        return self.home / "logs"


def embedded_stack(settings: Settings) -> Stack:
    """Chooses every port and writes every command; raises PortTaken when the gateway's port is not free."""
    listener, stage_ports = listening(settings.host, settings.port), free_ports(len(STAGES))
    stages = tuple(model_service(name, at, settings) for name, at in zip(STAGES, stage_ports, strict=True))
    gateway = gateway_service(listener.getsockname()[1], {stage.name: stage.url for stage in stages}, settings)
    return Stack(listening_at(listener, gateway), stages, settings.home, listener)


def gateway_service(port: int, stage_urls: Mapping[str, str], settings: Settings) -> Service:
    """The gateway, which finds each stage where `stage_urls` says."""
    environment = {
        "BOWERBIRD_HOME": str(settings.home),
        "BOWERBIRD_PORT": str(port),
        **{f"BOWERBIRD_{name.upper().replace('-', '_')}_URL": url for name, url in stage_urls.items()},
    }
    command = (sys.executable, "-m", "bowerbird.gateway.main")
    return Service("gateway", f"http://{_reachable(settings.host)}:{port}", command, os.environ | environment)


def listening_at(listener: socket.socket, gateway: Service) -> Service:
    """The gateway with a socket that it inherits, however often it is started."""
    environment = {**gateway.environment, "BOWERBIRD_LISTEN_FD": str(listener.fileno())}
    return replace(gateway, environment=environment, descriptors=(listener.fileno(),))


def model_service(name: str, port: int, settings: Settings) -> Service:
    """One of `STAGES`, on loopback."""
    address = ("--host", LOOPBACK, "--port", str(port))
    command = (sys.executable, "-m", "bentoml", "serve", STAGES[name], *address)
    # BentoML keeps its store in the user's home and reports its use over the network unless told otherwise.
    environment = {
        "BOWERBIRD_HOME": str(settings.home),
        "BENTOML_HOME": str(settings.home / "bentoml"),
        "BENTOML_DO_NOT_TRACK": "True",
    }
    defaults = {"BOWERBIRD_ANIMATION_NICENESS": str(ANIMATION_NICENESS)}
    return Service(name, f"http://{LOOPBACK}:{port}", command, defaults | os.environ | environment, WORKER_MODULE)


def _reachable(host: str) -> str:
    """The address under which this machine reaches a server that is bound to `host`."""
    everywhere = {"0.0.0.0": LOOPBACK, "::": "[::1]", "": LOOPBACK}  # noqa: S104 - compared, not bound
    return everywhere.get(host, f"[{host}]" if ":" in host else host)
