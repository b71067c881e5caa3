"""Pods by a metric of somebody else's: a HorizontalPodAutoscaler counts, and no upgrade counts for it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from .cluster import Cluster
from .metrics_api import METRIC, MetricsApi, metrics_api
from .release import READY_SECONDS, Release, drawn

pytestmark = [pytest.mark.own_cluster, pytest.mark.timeout(900)]

MOST = 2
WAITING = {
    "type": "Object",
    "object": {
        "describedObject": {"apiVersion": "v1", "kind": "Service", "name": "curation"},
        "metric": {"name": METRIC},
        "target": {"type": "Value", "value": "10"},
    },
}
COUNTED: tuple[str, ...] = ("--set", "services.curation.scaling.kind=hpa")
COUNTED += (
    "--set",
    "services.curation.scaling.minReplicas=1",
    "--set",
    f"services.curation.scaling.maxReplicas={MOST}",
)
COUNTED += ("--set", "services.curation.scaling.scaleDownSeconds=0")
COUNTED += ("--set-json", f"services.curation.scaling.metrics={json.dumps([WAITING])}")


@pytest.fixture(scope="module")
def metrics(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MetricsApi]:
    """What the autoscaler is told."""
    with metrics_api(cluster, tmp_path_factory.mktemp("metrics")) as served:
        yield served


def test_curation_gets_as_many_pods_as_the_metric_says_and_upgrades_leave_them(
    bowerbird: Release, metrics: MetricsApi
) -> None:
    metrics.value = 1
    bowerbird.upgrade(*COUNTED)
    try:
        assert bowerbird.wanted()["curation"] == 1
        metrics.value = 20
        counted(bowerbird, MOST)
        bowerbird.upgrade(*COUNTED, "--set", "services.safety.podAnnotations.round=two")
        assert bowerbird.wanted()["curation"] == MOST
        assert drawn(bowerbird)
        metrics.value = 1
        counted(bowerbird, 1)
        assert drawn(bowerbird)
    finally:
        bowerbird.upgrade()


def counted(release: Release, count: int) -> None:
    """Returns when curation is wanted by so many pods, and has them; HPAs are looked at every few seconds."""
    release.cluster.until(lambda: release.wanted()["curation"] == count, f"{count} pods that are wanted")
    release.kubectl("rollout", "status", "deployment/curation", f"--timeout={READY_SECONDS}s")
    release.cluster.until(lambda: len(release.pods("curation")) == count, f"{count} pods")
