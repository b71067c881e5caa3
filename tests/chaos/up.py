"""`bowerbird up` with the addresses that the run chose: `python -m tests.chaos.up LAYOUT`, settings by environment.

The same supervisor, the same services and the same guard as the command's. Other are only the addresses: they stay when
everything is started again, gateways find the stages behind proxies, and there may be a second gateway, with a home of
its own.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

from rich.console import Console

from bowerbird.embedded.display import JsonLine
from bowerbird.embedded.facts import StackError
from bowerbird.embedded.ports import listening
from bowerbird.embedded.stack import STAGES, Service, Stack, gateway_service, listening_at, model_service
from bowerbird.embedded.up import run
from bowerbird.settings import Settings

from .plan import GATEWAYS

REPLICA_URL = "BOWERBIRD_REPLICA_URL"
"""Where the other gateway finds this one."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Ports of loopback, by the names of services."""

    ports: Mapping[str, int]
    """Where they listen."""
    links: Mapping[str, int]
    """Where gateways find those that have a proxy before them."""

    def found_at(self, name: str) -> str:
        """The address under which a gateway finds a service."""
        return f"http://127.0.0.1:{self.links.get(name, self.ports[name])}"

    def to_json(self) -> str:
        """What the command line takes."""
        return json.dumps(asdict(self))


def stack_of(layout: Layout, settings: Settings) -> Stack:
    """The services at these addresses.

    The first gateway inherits its socket, as in `embedded_stack`; a second one opens its own, stands among the stages,
    and is started and stopped like one.
    """
    stages = tuple(model_service(name, layout.ports[name], settings) for name in STAGES)
    first, *others = (_gateway(name, layout, settings) for name in GATEWAYS if name in layout.ports)
    door = listening(settings.host, layout.ports[first.name])
    return Stack(listening_at(door, first), (*stages, *others), settings.home, door)


def _gateway(name: str, layout: Layout, settings: Settings) -> Service:
    home = settings.home if name == GATEWAYS[0] else settings.home / name
    urls = {stage: layout.found_at(stage) for stage in STAGES}
    service = gateway_service(layout.ports[name], urls, settings.model_copy(update={"home": home}))
    return replace(service, name=name, environment={**service.environment, REPLICA_URL: layout.found_at(name)})


def main(layout: Layout) -> None:
    """Runs until SIGTERM, or until a service gives up."""
    display = JsonLine(Console(stderr=True), Console())
    try:
        asyncio.run(run(Settings(), display, self_check=False, plan=lambda settings: stack_of(layout, settings)))
    except StackError as error:
        display.failed(error.message)
        raise SystemExit(1) from error


if __name__ == "__main__":
    main(Layout(**json.loads(sys.argv[1])))
