"""The animation service around a tiny bundle that really moves: four frames a window, twelve at most."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from starlette.applications import Starlette

from bowerbird.animation.service import routes
from bowerbird.engine.backend import Backend
from bowerbird.engine.backends.cpu import CpuBackend
from bowerbird.engine.bundle import Bundle
from bowerbird.engine.drawing import Engine
from bowerbird.engine.executor import Executor
from bowerbird.engine.serving.answering import equip
from bowerbird.worker import create_worker_app

from ..engine.tiny_bundle import Tiny, write_tiny_bundle

SLOTS = 2


@pytest.fixture(scope="session")
def moving_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As an AnimateDiff checkpoint is compiled: it draws clips and nothing else, and may begin with a picture."""
    tiny = Tiny(motion=True, stills=False, encoder=True)
    return write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "moving", tiny).folder


@pytest.fixture
def app_of() -> Iterator[Callable[..., Starlette]]:
    """The service's app around a bundle; what computes for it is closed at the end."""
    executors: list[Executor] = []

    def make(folder: Path, backend: Backend | None = None) -> Starlette:
        executors.append(Executor(Engine(Bundle.open(folder), backend or CpuBackend(threads=1)), SLOTS))
        app = create_worker_app("animation", routes())
        equip(app, executors[-1], timeout_seconds=3600.0)
        return app

    yield make
    for executor in executors:
        executor.close()
