"""A gateway that keeps pictures, whose safety says what it decides by; each request may be sent either way."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import ClassVar

import httpx2
import pytest
from starlette.applications import Starlette

from bowerbird.contracts import SafetyDescription
from bowerbird.gateway.app import create_app
from bowerbird.gateway.hot.protocol import GatewayHttpProtocol

from ..conftest import opened, settings_for, until_ready
from ..stand_ins import POLICY, StandIns, served

KEYS = ("the first key", "the second key")
SAYS = SafetyDescription(version="9.9", policy=POLICY)
ORDINARY = "x-ordinary"
UNSAMPLED = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-00"}
"""What is not recorded may be answered at once."""


class BothWays(GatewayHttpProtocol):
    """A connection as the gateway serves it; what says so goes the ordinary way from the beginning."""

    heard: ClassVar[Callable[[BothWays], None]] = staticmethod(lambda _: None)
    """Is told whenever something was received."""

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        BothWays.heard(self)

    def _is_free(self) -> bool:
        return super()._is_free() and (ORDINARY.encode(), b"1") not in self.headers


@pytest.fixture(scope="package")
def _stand_ins() -> Iterator[tuple[StandIns, str]]:
    """Of these tests alone: other gateways would hear what changes here."""
    stand_ins = StandIns()
    with served(stand_ins.app()) as url:
        yield stand_ins, url


@pytest.fixture(scope="package")
def _both_ways(_stand_ins: tuple[StandIns, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Starlette]:
    stand_ins, stages_url = _stand_ins
    stand_ins.behaviour.safety = SAYS
    home = tmp_path_factory.mktemp("home")
    app = create_app(settings_for(stages_url, home, result_bytes=10_000_000, api_keys=KEYS))
    with served(app, http=BothWays) as url:
        app.state.url = url
        yield app


@pytest.fixture
def both_ways(_both_ways: Starlette, stages: StandIns) -> Iterator[httpx2.Client]:
    """A client of the first tenant; safety says what it decides by."""
    stages.behaviour.safety = SAYS
    with opened(_both_ways.state.url) as client:
        client.headers |= {"Authorization": f"Bearer {KEYS[0]}", **UNSAMPLED}
        until_ready(client, "safety", "text-to-image", "curation")
        while _both_ways.state.gateway.stages.safety() != SAYS:
            time.sleep(0.02)
        yield client


@pytest.fixture
def hits(_both_ways: Starlette) -> object:
    """What the gateway remembers of its answers."""
    return _both_ways.state.gateway.hits


def at_once(client: httpx2.Client, route: str) -> float:
    """How many requests of a route were answered at once so far."""
    line = f'bowerbird_answered_at_once_total{{route="{route}"}} '
    figures = [each for each in client.get("/metrics").text.splitlines() if each.startswith(line)]
    return float(figures[0].removeprefix(line)) if figures else 0.0
