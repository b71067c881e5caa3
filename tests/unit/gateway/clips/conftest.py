"""A gateway before the real animation, safety and curation, in this process, and a tiny bundle that moves."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp

from bowerbird.animation import service as animation
from bowerbird.curation import service as curation
from bowerbird.curation.certificates import load_identity
from bowerbird.curation.encoder import open_judge
from bowerbird.curation.publishing import open_credentials
from bowerbird.curation.species_check import SpeciesJudge, read_species
from bowerbird.engine.backend import Backend
from bowerbird.engine.bundle import Bundle
from bowerbird.engine.drawing import Engine
from bowerbird.engine.executor import Executor
from bowerbird.engine.serving.answering import equip
from bowerbird.gateway.app import create_app
from bowerbird.safety import service as safety
from bowerbird.settings import Settings
from bowerbird.worker import create_worker_app

from ...engine.gated_backend import GatedBackend
from ...engine.tiny_bundle import Tiny, write_tiny_bundle
from ..conftest import opened, settings_for, until_ready
from ..stand_ins import StandIns, served

MAX_FRAMES = 40
SLOW_LOOKS = {"stage_poll_seconds": 1.0, "request_timeout_seconds": 120}
"""Nothing comes or goes here, and a busy machine gives nothing up."""
MAX_PIXELS = 2 * 65 * 64 * 64
"""Two candidates of 65 frames."""
STAGES = ("safety", "text-to-image", "animation", "curation")

MINE, THEIRS = "first", "second"

AnimatingWith = Callable[..., Starlette]
GatewayBefore = Callable[..., AbstractContextManager[httpx2.Client]]


@pytest.fixture(scope="session")
def moving(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Clips of 64 x 64 whose frames have most of their noise in common and little else: they move, and do not flash."""
    tiny = Tiny(side=64, gain=0.1, motion=True, stills=False, encoder=True, shared_noise=0.96, max_frames=MAX_FRAMES)
    return write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "moving", tiny)


@pytest.fixture(scope="session")
def flashing(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The same, but that every frame is as far from the one before as the denoiser takes it."""
    tiny = Tiny(side=64, motion=True, stills=False, shared_noise=0.96, max_frames=MAX_FRAMES)
    return write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "flashing", tiny)


@pytest.fixture(scope="session")
def _looking(tmp_path_factory: pytest.TempPathFactory) -> list[BaseRoute]:
    """Safety and curation as they are served."""
    settings = Settings(home=tmp_path_factory.mktemp("home"))
    checking = create_worker_app("safety", safety.routes)
    checking.state.checks = safety.load_checks(settings)
    judging = create_worker_app("curation", curation.routes())
    judge = open_judge(settings.judge, GatedBackend(gate_open=True))
    credentials = open_credentials(load_identity(settings))
    curation.equip(judging, judge, SpeciesJudge(judge, read_species(None)), lambda: credentials)
    return [*_mounted("/safety", checking), *_mounted("/curation", judging)]


@pytest.fixture(scope="session")
def _backend() -> GatedBackend:
    return GatedBackend(gate_open=True)


@pytest.fixture
def backend(_backend: GatedBackend) -> Iterator[GatedBackend]:
    """What animation computes on: lets everything through until a test shuts its gate."""
    _backend.begun.clear()
    yield _backend
    waited_for, _backend.allowed = _backend.allowed, threading.Semaphore(0)
    _backend.gate_open = True
    waited_for.release(999)  # whoever stands at the gate goes through, and the next test finds it as new


@pytest.fixture(scope="session")
def animating() -> Iterator[AnimatingWith]:
    """Animation as it is served, around a bundle; what computes for it is closed at the end."""
    executors: list[Executor] = []

    def app_of(bundle: Bundle | None, backend: Backend | None = None) -> Starlette:
        app = create_worker_app("animation", animation.routes())
        if bundle is not None:
            executors.append(Executor(Engine(bundle, backend or GatedBackend(gate_open=True)), 2))
            equip(app, executors[-1], timeout_seconds=3600.0)
        return app

    yield app_of
    for executor in executors:
        executor.close()


@pytest.fixture(scope="session")
def gateway_before(_looking: list[BaseRoute], _stand_ins: tuple[StandIns, str]) -> GatewayBefore:
    """`with gateway_before(animation, home) as client`: a gateway before the real stages."""

    @contextmanager
    def started(animator: ASGIApp, home: Path, **changes: Any) -> Iterator[httpx2.Client]:
        with served(Starlette(routes=[*_looking, *_mounted("/animation", animator)])) as url:
            urls = {f"{each}_url": f"{url}/{each}" for each in ("safety", "animation", "curation")}
            settings = settings_for(_stand_ins[1], home, **{**urls, **SLOW_LOOKS, **changes})
            with served(create_app(settings)) as gateway_url, opened(gateway_url) as client:
                until_ready(client, *STAGES)
                yield client

    return started


@pytest.fixture(scope="session")
def animator(moving: Bundle, animating: AnimatingWith, _backend: GatedBackend) -> Starlette:
    """Animation that draws clips which may leave."""
    return animating(moving, _backend)


@pytest.fixture(scope="module")  # real stages are traced: their spans' ids disturb whoever counts on `random` elsewhere
def _clips(
    gateway_before: GatewayBefore, animator: Starlette, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[httpx2.Client]:
    keys = frozenset({MINE, THEIRS})
    home = tmp_path_factory.mktemp("home")
    with gateway_before(animator, home, api_keys=keys, max_clip_pixels=MAX_PIXELS) as client:
        client.headers["Authorization"] = f"Bearer {MINE}"
        yield client


@pytest.fixture
def clips(_clips: httpx2.Client, backend: GatedBackend) -> httpx2.Client:
    """A client of a gateway that draws clips, which this module's tests share."""
    return _clips


def _mounted(path: str, app: ASGIApp) -> list[BaseRoute]:
    """A worker's app with the probe that BentoML answers."""

    async def readyz(_: object) -> Response:
        return Response()

    return [Route(f"{path}/readyz", readyz), Mount(path, app)]
