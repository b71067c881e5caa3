"""From no pod to one and back: KEDA counts by what the gateways say, and Helm never counts."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
import pytest

from .binaries import program
from .cluster import Cluster
from .release import PICTURE, Release, created, loaded, release_of

pytestmark = pytest.mark.timeout(900)

MODELS = ("safety", "text-to-image", "curation")
ASLEEP = dict.fromkeys(MODELS, 0)
AWAKE = dict.fromkeys(MODELS, 1)
COOLDOWN_SECONDS = 15
KEDA = (
    "--set",
    "defaults.scaling.kind=keda",
    "--set",
    f"defaults.scaling.cooldownSeconds={COOLDOWN_SECONDS}",
    "--set",
    "services.gateway.scaling.kind=fixed",
)
COMPONENT = r"custom-columns=COMPONENT:.metadata.labels.app\.kubernetes\.io/component"


@pytest.fixture(scope="module")
def release(cluster: Cluster) -> Iterator[Release]:
    """A namespace in which nothing is installed yet."""
    loaded(cluster)
    made = release_of(cluster, "asleep", *KEDA)
    created(made)
    yield made
    cluster.kubectl("delete", "namespace", made.namespace, "--wait=false")


def test_install_upgrade_and_rollback_make_no_model_pod_while_nobody_asks(release: Release) -> None:
    with seen(release) as components:
        release.upgrade()
        release.upgrade("--set", "defaults.podAnnotations.round=two")
        release.rollback()
    assert set(components) <= {"gateway", "own-replicas"}
    assert counts(release) == ASLEEP


def test_one_request_wakes_the_whole_chain_and_is_answered(release: Release) -> None:
    with release.reached() as client:
        answer = client.post("/v1/images/generations", json=PICTURE, timeout=300)
    assert answer.status_code == httpx2.codes.OK, answer.text
    assert counts(release) == AWAKE


def test_upgrade_and_rollback_change_no_count_while_they_are_awake(release: Release) -> None:
    release.upgrade("--set", "defaults.scaling.cooldownSeconds=600", wait=False)
    assert counts(release) == AWAKE
    release.rollback()
    assert counts(release) == AWAKE


def test_they_fall_asleep_when_nobody_asks(release: Release) -> None:
    release.cluster.until(lambda: counts(release) == ASLEEP, "every service asleep", seconds=COOLDOWN_SECONDS + 60)
    release.cluster.until(lambda: not any(map(release.pods, MODELS)), "no model pod")


def counts(release: Release) -> dict[str, int]:
    """How many pods of each model are wanted."""
    return {name: count for name, count in release.wanted().items() if name in MODELS}


@contextmanager
def seen(release: Release) -> Iterator[list[str]]:
    """The component of every pod that the namespace had at any time while the block ran."""
    command = [str(program("kubectl")), "--namespace", release.namespace, "get", "pods", "--watch", "--no-headers"]
    components: list[str] = []
    watch = subprocess.Popen(
        [*command, "--output", COMPONENT], env=release.cluster.environment, stdout=subprocess.PIPE, text=True
    )
    assert watch.stdout is not None
    reader = threading.Thread(target=lambda lines: components.extend(map(str.strip, lines)), args=(watch.stdout,))
    reader.start()
    try:
        yield components
    finally:
        watch.terminate()
        watch.wait()
        reader.join()
        watch.stdout.close()
