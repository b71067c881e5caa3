"""From no pod to one and back: KEDA counts by what the gateways say over mutual TLS, and Helm never counts.

The tests of this file are one story, told in its order: they share a release, which sleeps or is awake.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest

from .certificates import Authority
from .cluster import Cluster
from .release import MODELS, PICTURE, REPLICAS, Release, created, drawing, loaded, release_of, woken

pytestmark = pytest.mark.timeout(900)

NAMESPACE = "asleep"
ASLEEP = dict.fromkeys(MODELS, 0)
AWAKE = dict.fromkeys(MODELS, 1)
COOLDOWN_SECONDS = 5
TOGETHER_SECONDS = 1.0
"""How far apart the stages of one chain may be told to come; the issue's."""
REASON_SECONDS = 5.0
KEDA = {
    "defaults.scaling.kind": "keda",
    "defaults.scaling.cooldownSeconds": COOLDOWN_SECONDS,
    "services.gateway.scaling.kind": "fixed",
    "keda.tls.existingSecret": "scaler",
    "keda.tls.clientSecret": "keda",
}
COMPONENT = r"custom-columns=COMPONENT:.metadata.labels.app\.kubernetes\.io/component"
POD = f"{COMPONENT},NAME:.metadata.name"


@pytest.fixture(scope="module")
def release(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    """A namespace in which nothing is installed yet, with the certificates of KEDA and of the gateway."""
    loaded(cluster)
    values = [option for name, value in KEDA.items() for option in ("--set", f"{name}={value}")]
    made = release_of(cluster, NAMESPACE, *values)
    created(made)
    folder = tmp_path_factory.mktemp("certificates")
    authority = Authority(folder)
    for name, host in (("scaler", f"scaler.{NAMESPACE}"), ("keda", "keda")):
        certificate, key = authority.issue(folder / name, host, hosts=[host])
        files = {"tls.crt": certificate, "tls.key": key, "ca.crt": authority.certificate_file}
        sources = [f"--from-file={file_name}={file}" for file_name, file in files.items()]
        made.kubectl("create", "secret", "generic", name, *sources)
    yield made
    cluster.kubectl("delete", "namespace", made.namespace, "--wait=false")


def test_install_upgrade_and_rollback_make_no_model_pod_while_nobody_asks(release: Release) -> None:
    with release.watched("pods", COMPONENT) as components:
        release.upgrade()
        release.upgrade("--set", "defaults.podAnnotations.round=two")
        release.rollback()
    assert {component for _, component in components} <= {"gateway", "own-replicas"}
    assert counts(release) == ASLEEP
    with release.reached() as client:
        stages = client.get("/readyz").json()["stages"]
    assert {each["name"] for each in stages if each["state"] == "asleep"} >= set(MODELS)


def test_what_a_paused_service_cannot_do_is_told_within_seconds(release: Release) -> None:
    release.kubectl("annotate", "scaledobject", "text-to-image", "autoscaling.keda.sh/paused=true")
    try:
        with release.reached() as client:
            began = time.monotonic()
            answer = client.post("/v1/images/generations", json=PICTURE)
            took = time.monotonic() - began
    finally:
        release.kubectl("annotate", "scaledobject", "text-to-image", "autoscaling.keda.sh/paused-")
    assert answer.status_code == httpx2.codes.SERVICE_UNAVAILABLE, answer.text
    assert "Paused" in answer.json()["error"]["reason"]
    assert took < REASON_SECONDS
    fall_asleep(release)


def test_one_request_wakes_the_whole_chain_at_once_hears_how_far_it_is_and_is_answered(release: Release) -> None:
    with release.watched("deployments", REPLICAS) as changes, release.reached() as client:
        streamed = {**PICTURE, "stream": True}
        answer = client.post("/v1/images/generations", json=streamed, timeout=300)
        release.cluster.until(lambda: are_awake(client.get("/metrics").text), "services whose wakes are counted")
        metrics = client.get("/metrics").text
    assert "event: image_generation.completed" in answer.text, answer.text
    phases = re.findall(r'"phase": ?"wake\.(\w+)"', answer.text)
    assert phases[0] == "decide"
    assert {"start", "load"} & set(phases), "what a kubelet does"
    assert counts(release) == AWAKE
    told = sorted(woken(changes).values())
    assert len(told) == len(MODELS)
    assert told[-1] - told[0] <= TOGETHER_SECONDS
    assert first_pods(metrics) == 0, "KEDA made them"
    stepped = {
        model for model in MODELS if f'bowerbird_wake_seconds_count{{phase="first_step",service="{model}"}}' in metrics
    }
    assert stepped == set(MODELS)


def test_upgrade_and_rollback_change_no_count_and_no_pod_while_they_are_awake(release: Release) -> None:
    with release.reached() as client, drawing(client, cache="fresh") as told:
        release.cluster.until(lambda: told.pictures > 0, "a chain that is awake")
        before = {name for model in MODELS for name in release.pods(model)}
        with release.watched("deployments", REPLICAS) as changes, release.watched("pods", POD) as pods:
            release.upgrade("--set", "defaults.scaling.cooldownSeconds=600", wait=False)
            release.rollback()
    assert told.errors == []
    assert {tuple(line.split()) for _, line in changes} == {(name, "1") for name in (*MODELS, "gateway")}
    seen = [line.split() for _, line in pods]
    assert {name for component, name in seen if component in MODELS} == before


def test_a_pod_that_is_told_to_end_finishes_its_picture(release: Release) -> None:
    with release.reached() as client, ThreadPoolExecutor(1) as thread:
        client.post("/v1/images/generations", json={**PICTURE, "cache": "fresh"}, timeout=300).raise_for_status()
        several = {**PICTURE, "cache": "fresh", "n": 4}
        drawing = thread.submit(client.post, "/v1/images/generations", json=several, timeout=300)
        release.cluster.until(lambda: annotated(release), "a pod of text-to-image that is known as busy")
        release.kubectl("delete", "pod", "--wait=false", *release.pods("text-to-image"))
        answer = drawing.result()
    assert answer.status_code == httpx2.codes.OK, answer.text
    assert len(answer.json()["data"]) == several["n"]


def test_what_a_pod_has_no_time_left_for_is_drawn_by_another(release: Release) -> None:
    with release.reached() as client, ThreadPoolExecutor(1) as thread:
        client.post("/v1/images/generations", json={**PICTURE, "cache": "fresh"}, timeout=300).raise_for_status()
        several = {**PICTURE, "cache": "fresh", "n": 4, "steps": 50}
        drawing = thread.submit(client.post, "/v1/images/generations", json=several, timeout=300)
        release.cluster.until(lambda: annotated(release), "a pod of text-to-image that is known as busy")
        release.kubectl("delete", "pod", "--wait=false", "--grace-period=1", *release.pods("text-to-image"))
        answer = drawing.result()
        assert 'bowerbird_put_back_total{reason="lost"}' in client.get("/metrics").text
    assert answer.status_code == httpx2.codes.OK, answer.text
    assert len(answer.json()["data"]) == several["n"]


def test_they_fall_asleep_when_nobody_asks(release: Release) -> None:
    fall_asleep(release)


def test_pods_that_are_asked_for_come_without_a_request_and_go_again(release: Release) -> None:
    with release.reached() as client:
        ask_for(client, pods=1)
        release.cluster.until(lambda: counts(release) == {**ASLEEP, "safety": 1}, "a pod that was asked for")
        ask_for(client, pods=0)
    fall_asleep(release)


def are_awake(metrics: str) -> bool:
    """Whether the gateway has counted one wake of each model: it hears of a pod that is ready by a watch."""
    return all(f'bowerbird_wake_seconds_count{{phase="total",service="{model}"}} 1.0' in metrics for model in MODELS)


def ask_for(client: httpx2.Client, pods: int) -> None:
    """Pods of safety for ten minutes, whatever the work."""
    wish = {"service": "safety", "pods": pods, "seconds": 600}
    client.post("/v1/admin/demand", json=wish).raise_for_status()


def annotated(release: Release) -> bool:
    """Whether Kubernetes knows that a pod of text-to-image is dear to delete."""
    busy = "controller.kubernetes.io/pod-deletion-cost"
    return any(busy in pod["metadata"].get("annotations", {}) for pod in release.listed("text-to-image"))


def fall_asleep(release: Release) -> None:
    """Returns when no model has a pod."""
    release.cluster.until(lambda: counts(release) == ASLEEP, "every service asleep", seconds=COOLDOWN_SECONDS + 90)
    release.cluster.until(lambda: not any(map(release.pods, MODELS)), "no model pod")


def counts(release: Release) -> dict[str, int]:
    """How many pods of each model are wanted."""
    return {name: count for name, count in release.wanted().items() if name in MODELS}


def first_pods(metrics: str) -> float:
    """How many Deployments the gateway itself has woken."""
    return sum(map(float, re.findall(r"^bowerbird_first_pods_total{[^}]*} (.+)$", metrics, re.MULTILINE)))
