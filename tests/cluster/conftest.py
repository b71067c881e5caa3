"""Fixtures of the tests that need a real cluster.

They run when CLUSTER says on which: `own` is started for them and taken away, `existing` is whatever KUBECONFIG names
(its nodes must have the images, or be able to pull them). Without CLUSTER they are skipped; the chart's own tests need
only Helm, and are not.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from bowerbird.embedded.finding import Level
from bowerbird.embedded.kubernetes import examine_cluster, kubectl

from . import cluster as clusters
from .cluster import Cluster
from .release import Release, installed
from .sharing import shared_cluster, turn

WHICH = os.environ.get("CLUSTER", "")
HERE = Path(__file__).parent
WITHOUT_CLUSTER = ("test_chart", "test_cycle_plan")
"""How the files begin whose tests need Helm at most."""
TURN = ExitStack()
"""Of this worker, from the first test of a file to its last."""
HAD: set[Path] = set()
"""Files that have had their turn, or have it."""


def pytest_configure(config: pytest.Config) -> None:
    """What the tests here are marked with."""
    config.addinivalue_line("markers", "alone: while no other file of tests runs; it disturbs what they share")
    disturbing = "own_cluster: kills nodes or the control plane, or has pods reach this machine; nobody else's cluster"
    config.addinivalue_line("markers", disturbing)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without a cluster nothing runs that needs one; on one that is not ours, nothing is killed."""
    nowhere = pytest.mark.skip(reason="needs a cluster: make test-cluster")
    for item in items:
        if item.path.parent != HERE:
            continue
        if not WHICH and not item.path.name.startswith(WITHOUT_CLUSTER):
            item.add_marker(nowhere)
        if WHICH == "existing" and item.get_closest_marker("own_cluster"):
            item.add_marker(pytest.mark.skip(reason="kills what is not ours, or has pods reach this machine"))


@pytest.fixture(scope="session")
def cluster(testrun_uid: str) -> Iterator[Cluster]:
    """A cluster with cluster DNS and KEDA, ready."""
    if WHICH == "existing":
        yield Cluster(Path(os.environ["KUBECONFIG"]).parent, {}, Path(os.environ["KUBECONFIG"]))
        return
    if objection := clusters.objections():
        if os.environ.get("CI"):
            pytest.fail(objection)
        pytest.skip(objection)
    with shared_cluster(testrun_uid) as running:
        yield running


@pytest.fixture(scope="session")
def bowerbird(cluster: Cluster, worker_id: str) -> Iterator[Release]:
    """Bowerbird in a namespace that enforces `restricted`, installed from the chart by Helm, ready."""
    with installed(cluster, "bowerbird" if worker_id == "master" else f"bowerbird-{worker_id}") as release:
        yield release


@pytest.fixture
def diagnosis(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Callable[[Release], str]:
    """What `bowerbird doctor --cluster` finds wrong with a release."""
    monkeypatch.setenv("PATH", cluster.environment["PATH"])
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig))

    def examined(release: Release) -> str:
        found = examine_cluster(release.namespace, kubectl(release.namespace))
        return " ".join(each.fact for each in found if each.level is Level.FAIL)

    return examined


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None, object, object]:
    """A file has its turn before anything is set up for it, and until everything has been taken down."""
    if WHICH == "own" and item.path.parent == HERE and item.path not in HAD:
        HAD.add(item.path)
        TURN.enter_context(turn(alone=item.get_closest_marker("alone") is not None))
    result = yield
    if nextitem is None or nextitem.path != item.path:
        TURN.close()
    return result
