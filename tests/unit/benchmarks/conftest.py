"""A bundle that draws in microseconds, shared by the small runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.engine import environments

from ..engine.tiny_bundle import Tiny, write_tiny_bundle


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sizes, with LoRA graphs."""
    folder = tmp_path_factory.mktemp("bundles") / "tiny"
    write_tiny_bundle(folder, Tiny(lora=True, more_sides=(32,)))
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing that a test makes stays in the reader's cache."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setattr(environments, "CACHE", folder)
    return folder
