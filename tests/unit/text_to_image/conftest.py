"""The service around a tiny bundle: in process for most tests, slow enough to be interrupted for some."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from starlette.applications import Starlette

from bowerbird.engine.backend import Backend
from bowerbird.engine.backends.cpu import CpuBackend
from bowerbird.engine.bundle import Bundle
from bowerbird.engine.drawing import Engine
from bowerbird.engine.executor import Executor
from bowerbird.engine.serving.answering import equip
from bowerbird.text_to_image.service import routes
from bowerbird.worker import create_worker_app

from ..engine.tiny_bundle import Tiny, write_tiny_bundle

SLOTS = 2


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that draws 16 x 16 at once."""
    return write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny").folder


@pytest.fixture(scope="session")
def slow_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose step of 64 x 64 takes a few milliseconds, and that takes 50 of them."""
    return write_tiny_bundle(
        tmp_path_factory.mktemp("bundles") / "slow", Tiny(side=64, hidden=128, max_steps=50)
    ).folder


@pytest.fixture
def app_of() -> Iterator[Callable[..., Starlette]]:
    """The service's app around a bundle (and a folder of LoRAs); what computes for it is closed at the end."""
    executors: list[Executor] = []

    def make(folder: Path, backend: Backend | None = None, loras: Path | None = None) -> Starlette:
        engine = Engine(Bundle.open(folder), backend or CpuBackend(threads=1), loras=loras)
        executors.append(Executor(engine, SLOTS))
        app = create_worker_app("text-to-image", routes())
        equip(app, executors[-1], timeout_seconds=3600.0)  # a slow machine gives nothing up
        return app

    yield make
    for executor in executors:
        executor.close()
