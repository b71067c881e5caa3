"""Fixtures of the tests that need a real cluster.

They run when CLUSTER says on which: `own` is started for them and taken away, `existing` is whatever KUBECONFIG names
(its nodes must have the images, or be able to pull them). Without CLUSTER they are skipped; the chart's own tests need
only Helm, and are not.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import cluster as clusters
from .cluster import Cluster
from .release import Release, installed, loaded

WHICH = os.environ.get("CLUSTER", "")
HERE = Path(__file__).parent
WITHOUT_CLUSTER = ("test_chart", "test_cycle_plan")
"""How the files begin whose tests need Helm at most."""


def pytest_configure(config: pytest.Config) -> None:
    """What the tests here are marked with."""
    config.addinivalue_line("markers", "own_cluster: kills nodes or the control plane; not on somebody else's cluster")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without a cluster nothing runs that needs one; on one that is not ours, nothing is killed."""
    nowhere = pytest.mark.skip(reason="needs a cluster: make test-cluster")
    for item in items:
        if item.path.parent != HERE:
            continue
        if not WHICH and not item.path.name.startswith(WITHOUT_CLUSTER):
            item.add_marker(nowhere)
        if WHICH == "existing" and item.get_closest_marker("own_cluster"):
            item.add_marker(pytest.mark.skip(reason="kills what is not ours"))


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A cluster with cluster DNS and KEDA, ready."""
    if WHICH == "existing":
        yield Cluster(Path(os.environ["KUBECONFIG"]).parent, {}, Path(os.environ["KUBECONFIG"]))
        return
    if objection := clusters.objections():
        if os.environ.get("CI"):
            pytest.fail(objection)
        pytest.skip(objection)
    try:
        yield clusters.up(lambda step: print(step, file=sys.stderr), meanwhile=loaded)
    finally:
        clusters.down()


@pytest.fixture(scope="session")
def bowerbird(cluster: Cluster) -> Iterator[Release]:
    """Bowerbird in a namespace that enforces `restricted`, installed from the chart by Helm, ready."""
    with installed(cluster, "bowerbird") as release:
        yield release
