"""Fixtures that all tests share: one real stack for the whole session, and the collector its traces go to."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from hypothesis import settings

from .databases import _shared_database, newest_file, newest_template, url  # noqa: F401 - fixtures
from .embedded_stack import RunningStack, running_stack
from .otlp import Collector, running_collector
from .postgresql import postgresql  # noqa: F401 - a fixture
from .s3 import s3  # noqa: F401 - a fixture
from .workers import (  # noqa: F401 - hooks
    pytest_collection_finish,
    pytest_collection_modifyitems,
    pytest_sessionstart,
    pytest_xdist_auto_num_workers,
    pytest_xdist_make_scheduler,
)

# Torch takes every core by itself; beside other workers of pytest it would only wait for them.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.pop("COLUMNS", None)  # a worker's terminal is 80 wide; a test says how wide its own is

# Time is measured in benchmarks/, never asserted in a test: a busy machine is not a bug.
settings.register_profile("bowerbird", settings(), deadline=None)
settings.load_profile("bowerbird")


@pytest.fixture(scope="session")
def otlp() -> Iterator[Collector]:
    """A real OTLP receiver on loopback; `stack` sends its traces there."""
    with running_collector() as collector:
        yield collector


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, otlp: Collector) -> Iterator[RunningStack]:
    """The five services as `bowerbird up` starts them, ready; started once, and at the end no process may be left."""
    from bowerbird.safety.policy import PACKAGED_POLICY

    home = tmp_path_factory.mktemp("home")
    (home / "loras").mkdir()
    policy = shutil.copy(PACKAGED_POLICY, home / "policy.yaml")
    receivers = {"BOWERBIRD_WEBHOOK_NETWORKS": '["127.0.0.0/8"]', "BOWERBIRD_WEBHOOK_PLAIN_HTTP": "true"}
    files = {"BOWERBIRD_LORAS": str(home / "loras"), "BOWERBIRD_SAFETY_POLICY": str(policy)}
    with running_stack(home, **files, **receivers, **otlp.environment) as running:
        yield running
