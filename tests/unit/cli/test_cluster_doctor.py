"""`bowerbird doctor --cluster`: what keeps a release from starting is one sentence, from what the API server tells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from typer.testing import CliRunner

from bowerbird.cli import app
from bowerbird.embedded.finding import Level
from bowerbird.embedded.kubernetes import ClusterUnreadable, examine_cluster, kubectl

from .cluster_objects import LABELS, crashing, deployment, ended, failures, found, pod, waiting


def test_a_release_that_runs_has_nothing_to_mend() -> None:
    ready = {**deployment(), "status": {"readyReplicas": 1}}
    assert failures(deployments=[ready]) == []


def test_a_service_that_sleeps_is_well() -> None:
    asleep = deployment()
    asleep["spec"]["replicas"] = 0
    assert "asleep" in found(deployments=[asleep])[-1].fact


SLEEPERS = {"env": [{"name": "BOWERBIRD_STAGES_ASLEEP", "value": '["safety"]'}]}


def scaled(ready: str = "True", message: str = "", **metadata: Any) -> dict[str, Any]:
    """The ScaledObject of safety."""
    conditions = [{"type": "Ready", "status": ready, "message": message}]
    return {"metadata": {"name": "safety", **metadata}, "status": {"conditions": conditions}}


def test_a_service_that_keda_wakes_is_well() -> None:
    ready = {**deployment(container=SLEEPERS), "status": {"readyReplicas": 1}}
    assert failures(deployments=[ready], scaledobjects=[scaled()]) == []


@pytest.mark.parametrize(
    ("scaledobjects", "fact"),
    [
        ([], "safety has no ScaledObject: nothing wakes it."),
        ([scaled("False", "failed to ensure HPA")], "safety is not scaled: failed to ensure HPA"),
        ([scaled(annotations={"autoscaling.keda.sh/paused": "true"})], "safety is paused: nothing wakes it."),
    ],
)
def test_why_nothing_wakes_a_service_is_said(scaledobjects: list[dict[str, Any]], fact: str) -> None:
    assert fact in failures(deployments=[deployment(container=SLEEPERS)], scaledobjects=scaledobjects)


def test_kinds_of_keda_without_keda_are_told_from_keda() -> None:
    unseen = {"metadata": {"name": "safety"}}
    said = found(deployments=[deployment(container=SLEEPERS)], scaledobjects=[unseen])
    (finding,) = (each for each in said if each.subject == "KEDA")
    assert finding.level is Level.WARN
    assert finding.fact == "safety has a ScaledObject that KEDA has not looked at."


def test_a_cluster_without_keda_wakes_nobody() -> None:
    def read(kind: str) -> list[dict[str, Any]]:
        if kind == "scaledobjects":
            raise ClusterUnreadable("kubectl cannot read scaledobjects: unknown")
        return [deployment(container=SLEEPERS)] if kind == "deployments" else []

    facts = [each.fact for each in examine_cluster("birds", read)]
    assert any(fact.startswith("Who sleeps is woken by KEDA, and it is not here") for fact in facts)


def test_a_namespace_without_a_release_is_named() -> None:
    assert failures(deployments=[]) == ["No release of the chart is in the namespace birds."]


def test_a_secret_that_is_missing_is_named_and_how_to_make_it() -> None:
    (missing, _) = (each for each in found(secrets=[]) if each.level is Level.FAIL)
    assert missing.fact == "keys is not there."
    assert "kubectl create secret generic keys --from-literal=admin-keys=" in missing.advice


def test_a_secret_that_the_environment_is_made_of_is_looked_for_too() -> None:
    variable = {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "others", "key": "key"}}}
    assert "others is not there." in failures(deployments=[deployment(container={"env": [variable]})])


def test_a_secret_that_only_an_init_container_needs_is_looked_for_too() -> None:
    fetch = {"name": "fetch", "envFrom": [{"secretRef": {"name": "bucket"}}]}
    assert "bucket is not there." in failures(deployments=[deployment(initContainers=[fetch])])


def test_a_secret_that_a_volume_is_made_of_needs_the_keys_that_are_mounted() -> None:
    items = [{"key": key, "path": key} for key in ("tls.crt", "ca.crt")]
    volume = {"name": "scaler", "secret": {"secretName": "keys", "items": items}}
    said = failures(deployments=[deployment(volumes=[volume])])
    assert "keys has no key tls.crt; it has admin-keys." in said
    assert "keys has no key ca.crt; it has admin-keys." in said


def test_a_secret_without_the_key_that_is_read_says_what_it_has() -> None:
    other = {"metadata": {"name": "keys"}, "data": {"api-keys": ""}}
    assert "keys has no key admin-keys; it has api-keys." in failures(secrets=[other])


def test_a_claim_without_a_volume_says_so() -> None:
    volumes = [{"name": "home", "persistentVolumeClaim": {"claimName": "gateway"}}]
    claim = {"metadata": {"name": "gateway"}, "status": {"phase": "Pending"}}
    facts = failures(deployments=[deployment(volumes=volumes)], persistentvolumeclaims=[claim])
    assert "gateway is pending: it has no volume." in facts
    assert "gateway is not there." in failures(deployments=[deployment(volumes=volumes)])


@pytest.mark.parametrize(
    ("offered", "fact"),
    [
        ({}, "No node offers nvidia.com/gpu."),
        ({"nvidia.com/gpu": "1"}, "nvidia.com/gpu: 2 are asked for at once, and no node has more than 1."),
    ],
)
def test_an_accelerator_that_no_node_offers_is_named(offered: dict[str, str], fact: str) -> None:
    asks = deployment(container={"resources": {"limits": {"memory": "1Gi", "nvidia.com/gpu": "2"}}})
    assert fact in failures(deployments=[asks], nodes=[{"status": {"allocatable": {"cpu": "8", **offered}}}])


CLAIMED = {"resourceClaims": [{"name": "accelerator", "resourceClaimTemplateName": "gpus"}]}
TEMPLATE = {
    "metadata": {"name": "gpus"},
    "spec": {"spec": {"devices": {"requests": [{"name": "gpu", "exactly": {"deviceClassName": "gpu.nvidia.com"}}]}}},
}
CLASS = {"metadata": {"name": "gpu.nvidia.com"}}
SLICE = {"spec": {"driver": "gpu.nvidia.com", "devices": [{"name": "gpu-0"}, {"name": "gpu-1"}]}}


@pytest.mark.parametrize(
    ("templates", "classes", "slices", "fact"),
    [
        ([], [CLASS], [SLICE], "The ResourceClaimTemplate gpus is not there."),
        (
            [TEMPLATE],
            [{"metadata": {"name": "mig.nvidia.com"}}],
            [SLICE],
            "gpus asks for the device class gpu.nvidia.com, which is not there; there are: mig.nvidia.com.",
        ),
        ([TEMPLATE], [CLASS], [], "gpu.nvidia.com: no driver offers any device."),
    ],
)
def test_what_a_device_claim_lacks_is_named(
    templates: list[Any], classes: list[Any], slices: list[Any], fact: str
) -> None:
    there = {"resourceclaimtemplates": templates, "deviceclasses": classes, "resourceslices": slices}
    assert fact in failures(deployments=[deployment(**CLAIMED)], **there)


def test_a_device_class_whose_driver_offers_devices_is_well() -> None:
    there: dict[str, list[Any]] = {
        "resourceclaimtemplates": [TEMPLATE],
        "deviceclasses": [CLASS],
        "resourceslices": [SLICE],
    }
    (finding,) = (each for each in found(deployments=[deployment(**CLAIMED)], **there) if each.subject == "devices")
    assert finding.level is Level.OK
    assert "2 of all kinds" in finding.fact


def backup(status: dict[str, str], **spec: Any) -> dict[str, Any]:
    """The release's CronJob, which needs a Secret of its own."""
    container = {"name": "backup", "envFrom": [{"secretRef": {"name": "bucket"}}]}
    job = {"spec": {"template": {"spec": {"containers": [container]}}}}
    spec = {"schedule": "15 3 * * *", "jobTemplate": job, **spec}
    return {"metadata": {"name": "backup", "labels": LABELS}, "spec": spec, "status": status}


def test_a_secret_that_only_the_backup_needs_is_looked_for_too() -> None:
    assert "bucket is not there." in failures(cronjobs=[backup({})])


EARLY, LATE = "2026-11-21T03:15:00Z", "2026-11-22T03:15:00Z"


@pytest.mark.parametrize(
    ("status", "spec", "level", "fact"),
    [
        ({}, {}, Level.OK, "none was due yet (15 3 * * *)"),
        ({"lastScheduleTime": EARLY, "lastSuccessfulTime": LATE}, {}, Level.OK, f"the last that succeeded: {LATE}"),
        ({"lastScheduleTime": LATE, "active": ["x"]}, {}, Level.OK, "the last that succeeded: none yet"),
        (
            {"lastScheduleTime": LATE, "lastSuccessfulTime": EARLY},
            {},
            Level.FAIL,
            f"The one of {LATE} did not succeed; the last that did: {EARLY}.",
        ),
        ({"lastScheduleTime": LATE}, {"suspend": True}, Level.WARN, "It is suspended: nothing is backed up."),
    ],
)
def test_whether_the_last_backup_succeeded_is_said(
    status: dict[str, Any], spec: dict[str, Any], level: Level, fact: str
) -> None:
    (finding,) = (each for each in found(cronjobs=[backup(status, **spec)]) if each.subject == "backup")
    assert (finding.level, finding.fact) == (level, fact)


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (
            {
                "conditions": [
                    {"type": "PodScheduled", "status": "False", "message": "0/2 nodes: 2 Insufficient nvidia.com/gpu."}
                ]
            },
            "no node can take it (0/2 nodes: 2 Insufficient nvidia.com/gpu)",
        ),
        (waiting("ImagePullBackOff", "not found"), "its image cannot be pulled (not found)"),
        (waiting("CreateContainerConfigError", 'secret "x" not found'), 'cannot be made (secret "x" not found)'),
        (
            waiting("CrashLoopBackOff", "back-off 10s", "Traceback\nThe bundle's digest is wrong."),
            "its container ends again and again (The bundle's digest is wrong)",
        ),
        (
            {**waiting("PodInitializing"), "initContainerStatuses": crashing("s3://models/x is not there.")},
            "its container ends again and again (s3://models/x is not there)",
        ),
        (
            {"containerStatuses": [{"state": {"running": {}}, "lastState": ended("Traceback\nThe bundle is wrong.")}]},
            "its container has ended (The bundle is wrong)",
        ),
        ({"initContainerStatuses": [{"state": ended(code=137)}]}, "its container has ended (Error)"),
        ({"initContainerStatuses": [{"state": ended(code=0)}]}, "they are starting"),
        (
            {
                "containerStatuses": [{"state": ended()}],
                **{"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory. "},
            },
            "one was evicted (The node was low on resource: memory)",
        ),
        (
            {"phase": "Failed", "reason": "Evicted", "message": 'Usage of EmptyDir volume "models" exceeds "8Gi". '},
            'one was evicted (Usage of EmptyDir volume "models" exceeds "8Gi")',
        ),
        ({}, "they are starting"),
    ],
)
def test_a_pod_that_does_not_start_says_why(status: dict[str, Any], reason: str) -> None:
    (fact,) = failures(pods=[pod(status)])
    assert fact.startswith("0 of 1 pods are ready: ")
    assert reason in fact


def test_a_pod_that_is_to_follow_one_that_serves_and_does_not_start_says_why() -> None:
    serving = {**deployment(), "status": {"readyReplicas": 1}}
    stuck = pod({"containerStatuses": crashing("The bundle's digest is wrong.")})
    (fact,) = failures(deployments=[serving], pods=[pod({}), stuck])
    assert fact.startswith("1 of 1 pods are ready, and one that is to follow does not start: ")
    assert "The bundle's digest is wrong" in fact


def test_an_api_server_that_cannot_be_read_is_one_finding() -> None:
    def unreadable(kind: str) -> Sequence[dict[str, Any]]:
        raise ClusterUnreadable(f"kubectl cannot read {kind}: connection refused")

    (finding,) = examine_cluster("birds", unreadable)
    assert finding.level is Level.FAIL
    assert "connection refused" in finding.fact


def test_a_machine_without_kubectl_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ClusterUnreadable, match="not installed"):
        kubectl("birds")("pods")


def test_the_command_looks_at_a_cluster_when_it_is_told_a_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    told = CliRunner().invoke(app, ["doctor", "--cluster", "birds"])
    assert told.exit_code == 1
    assert "kubectl is not installed." in told.output
