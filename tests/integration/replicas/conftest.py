from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from .crowd import Crowd, Stages


@pytest.fixture(scope="module")
def _stages() -> Stages:
    return Stages()


@pytest.fixture
def stages(_stages: Stages) -> Stages:
    """The stand-ins; nothing was drawn yet."""
    _stages.reset()
    return _stages


@pytest.fixture
def crowd() -> Iterator[Crowd]:
    with ThreadPoolExecutor(64) as threads:
        yield Crowd(threads)
