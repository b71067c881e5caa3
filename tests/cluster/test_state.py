"""A gateway that keeps its state itself: SQLite and pictures on a claim, one gateway at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial

import httpx2
import pytest

from .cluster import Cluster
from .jobs import accepted, finished
from .release import Release, created, loaded, paint, release_of

pytestmark = [pytest.mark.own_cluster, pytest.mark.timeout(900)]

NAMESPACE = "stateful"
ROUND = ("--set", "services.gateway.podAnnotations.round=two")


@pytest.fixture(scope="module")
def release(cluster: Cluster) -> Iterator[Release]:
    """One whose gateway has a folder of the node `cpu`; it is not installed yet."""
    loaded(cluster)
    (cluster.machines["cpu"].folder / "var" / "state").mkdir()
    made = release_of(cluster, NAMESPACE, "--set", "storage.size=1Gi")
    created(made)
    cluster.kubectl("apply", "-f", "-", manifest=json.dumps(volume_of_node()))
    yield made
    cluster.kubectl("delete", "namespace", NAMESPACE, "--wait=false")
    cluster.kubectl("delete", "persistentvolume", NAMESPACE, "--wait=false")


def test_what_was_accepted_is_finished_by_the_gateway_of_an_upgrade_and_of_the_rollback(release: Release) -> None:
    release.upgrade()
    jobs = []
    changes: tuple[Callable[[], None], ...] = (partial(release.upgrade, *ROUND), release.rollback)
    for change in changes:
        (before,) = release.pods("gateway")
        with release.reached() as client:
            assert paint(client)
            jobs.append(accepted(client, steps=50, n=4))
        change()
        assert before not in release.pods("gateway")
        with release.reached() as client:
            assert finished(client, jobs[-1])["status"] == "succeeded"
            assert all(is_whole(client, job) for job in jobs)


def test_who_is_uninstalled_by_mistake_is_installed_again_with_everything(release: Release) -> None:
    with release.reached() as client:
        job = accepted(client)
        assert finished(client, job)["status"] == "succeeded"
    release.cluster.helm("uninstall", NAMESPACE, "--namespace", NAMESPACE, "--wait")
    assert not release.pods()
    release.upgrade()
    with release.reached() as client:
        assert is_whole(client, job)


def is_whole(client: httpx2.Client, job: str) -> bool:
    """Whether a job's pictures are there."""
    result = client.get(f"/v1/jobs/{job}/result").raise_for_status().json()["data"]
    return all(each["b64_json"].startswith("iVBORw0KGgo") for each in result)  # PNG


def volume_of_node() -> dict[str, object]:
    """A folder of the node `cpu`, for the claim that the chart makes."""
    on_node = {"matchExpressions": [{"key": "bowerbird.dev/machine", "operator": "In", "values": ["cpu"]}]}
    spec = {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": "",
        "capacity": {"storage": "1Gi"},
        "local": {"path": "/var/state"},
        "nodeAffinity": {"required": {"nodeSelectorTerms": [on_node]}},
        "claimRef": {"namespace": NAMESPACE, "name": "gateway"},
    }
    return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": NAMESPACE}, "spec": spec}
