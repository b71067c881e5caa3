"""A folder for LoRA files and the bundle they must fit."""

from __future__ import annotations

from pathlib import Path

import pytest

from bowerbird.engine.bundle import Bundle
from bowerbird.engine.lora.shelf import LoraShelf

from .small_model import small_bundle


@pytest.fixture(scope="session")
def bundle() -> Bundle:
    """Nobody alters it."""
    return small_bundle()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Mounted and empty."""
    (tmp_path / "loras").mkdir()
    return tmp_path / "loras"


@pytest.fixture
def shelf(folder: Path, bundle: Bundle) -> LoraShelf:
    """Looks into the folder."""
    return LoraShelf(folder, bundle)
