"""A tiny bundle, an engine that draws with it, and the spans that drawing leaves."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from bowerbird.contracts import DrawRequest, Size
from bowerbird.engine.backends.cpu import CpuBackend
from bowerbird.engine.bundle import Bundle
from bowerbird.engine.drawing import Engine
from bowerbird.telemetry import set_up_telemetry

from .tiny_bundle import write_tiny_bundle


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Written once; nobody alters it."""
    return write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture
def copied(bundle: Bundle, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(bundle.folder, tmp_path / "copied"))


@pytest.fixture
def engine(bundle: Bundle) -> Engine:
    """A fresh engine: nothing cached, one frame a batch."""
    return Engine(bundle, CpuBackend(threads=1))


@pytest.fixture
def request_of() -> Callable[..., DrawRequest]:
    """A drawable request with whatever a test wants to be different."""

    def make(**different: object) -> DrawRequest:
        usual = {
            "prompt": "a small red bird",
            "size": Size(width=16, height=16),
            "steps": 3,
            "guidance_scale": 2.0,
            "seed": 7,
            "count": 1,
        }
        return DrawRequest.model_validate(usual | different)

    return make


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    """Every span that ends during the test."""
    set_up_telemetry("test")
    provider = trace.get_tracer_provider()
    assert isinstance(provider, TracerProvider)
    exporter = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    yield exporter
    exporter.shutdown()
